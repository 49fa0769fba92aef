"""A NegEx pass by spaCy and negspacy over texts, the peer of ``labels.py``: seconds as JSON.

    _negex.py TEXTS.json [TERMS.json]

The second file, where given, takes the terms of each text that are not denied.
Runs in an environment of its own (``labels.py`` makes it), without cascade. A blank English
pipeline cuts sentences at their marks, an entity ruler finds the terms in any case, and negspacy
tells whether each is denied. Building the pipeline is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import negspacy.negation  # noqa: F401 (makes the component known)
import spacy

TERMS = """
atelectasis, atelectatic, cardiomegaly, cardiac enlargement, enlarged heart, effusion, effusions,
infiltrate, infiltrates, infiltration, mass, masses, nodule, nodules, pneumonia, pneumothorax,
pneumothoraces, consolidation, consolidations, edema, emphysema, emphysematous, fibrosis, fibrotic,
pleural thickening, hernia, widened mediastinum, opacity, opacities, airspace disease, density,
fracture, fractures, catheter, pacemaker, granuloma, granulomas, granulomatous disease,
low lung volumes, hyperinflation, hyperinflated, calcification, calcified, scar, scarring,
scoliosis, spondylosis, osteophyte, osteophytes, degenerative changes, surgical clips, tortuous,
congestion, copd, interstitial markings, atherosclerotic, volume loss, bulla, cavity, kyphosis,
deformity, infection, metastasis
"""


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    ruler = pipeline.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    terms = [" ".join(term.split()) for term in TERMS.split(",")]
    ruler.add_patterns([{"label": "FINDING", "pattern": term} for term in terms])
    pipeline.add_pipe("negex", config={"ent_types": ["FINDING"]})
    pipeline("No effusion.")
    began = time.perf_counter()
    read = [
        [(entity.text.lower(), entity._.negex) for entity in text.ents]
        for text in pipeline.pipe(texts)
    ]
    seconds = time.perf_counter() - began
    found = [denied for terms_of in read for _, denied in terms_of]
    if sys.argv[2:]:
        said = [sorted({term for term, denied in each if not denied}) for each in read]
        Path(sys.argv[2]).write_text(json.dumps(said), encoding="utf-8")
    figures = {
        "seconds": seconds,
        "terms": len(terms),
        "mentions": len(found),
        "negated": sum(found),
        "spacy": spacy.__version__,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
