import json
import re
import shutil
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

import cascade
from cascade.errors import InputError
from cascade.inference import writers as writers_module
from cascade.inference.privacy import short_hash
from cascade.inference.results import StudyResult
from cascade.inference.writers import FORMATS, create_writers, draft_of
from cascade.io.draft_document import TITLE, WITHHELD, draft_pdf, draft_text
from tests.inference.documents import SECRETS, header, study_result, study_row

NAME = "0123456789abcdef"


def write(result, out, *formats, identifiers="keep", key="secret"):
    reasons = {
        writer.name: writer.write(result, out)
        for writer in create_writers(formats or FORMATS, identifiers=identifiers, key=key)
    }
    assert set(reasons.values()) == {None}
    return {name: out / name / f"{NAME}{FORMATS[name].suffix}" for name in reasons}


def content(path):
    """A file's bytes and what its compressed streams hold."""
    body = path.read_bytes()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", body, re.DOTALL):
        try:
            body += zlib.decompress(stream.strip(b"\r\n"))
        except zlib.error:
            body += stream
    return body


def pdf_text(path):
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (Debian: apt-get install poppler-utils)")
    command = ["pdftotext", "-layout", str(path), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_text(tmp_path):
    assert write(study_result(), tmp_path, "text")["text"].read_text() == (
        "MACHINE-MADE, UNVERIFIED DRAFT\n"
        "Research software, not a medical device. Drafts are machine-made and unverified: a\n"
        "radiologist must read the images.\n"
        "\n"
        "Patient's name:           Doe^Jane\n"
        "Patient's ID:             P123456\n"
        "Born:                     19480217\n"
        "Sex:                      F\n"
        "Study date:               20190314\n"
        "Accession number:         ACC-99881\n"
        "Study:                    0123456789abcdef\n"
        "Images:                   1 (frontal)\n"
        "Model:                    f00dfeed, of version 0.0.9\n"
        f"Program:                  cascade {cascade.__version__}\n"
        "Time:                     2026-11-24 20:15:30 UTC\n"
        "\n"
        "DRAFT\n"
        "The heart is enlarged. The lungs are clear.\n"
        "\n"
        "Annotation:               cardiomegaly\n"
        "Confidence of the draft:  0.75\n"
        "Called present:           Cardiomegaly (operating point best_f1)\n"
        "\n"
        "PROBABILITIES\n"
        "0.812  Cardiomegaly\n"
        "0.062  Pneumothorax\n"
        "0.250  Scoliosis\n"
        "\n"
        "Machine-made, unverified draft. Research software, not a medical device. Drafts are\n"
        "machine-made and unverified: a radiologist must read the images.\n"
    )


def test_pdf_warns_on_every_page(tmp_path):
    many = {f"label {number}": number / 100 for number in range(100)}
    path = write(study_result(probabilities=many), tmp_path, "pdf")["pdf"]
    pages = pdf_text(path).split("\f")[:-1]
    assert len(pages) == 3
    for page in pages:
        flat = " ".join(page.split())
        assert flat.count(TITLE) == 2
        assert flat.count(cascade.RESEARCH_NOTICE) == 2
    assert "The heart is enlarged." in pages[0]
    assert re.search(r"label 99 +0\.990", pages[2])


def test_pdf_has_letters_that_latin_1_has_not(tmp_path):
    sentences = "Łukasz’ “opacity” \x00\x07 東京 𝔘 " + "x" * 500
    result = study_result(header(PatientName="山田^太郎"), sentences=sentences)
    text = pdf_text(write(result, tmp_path, "pdf")["pdf"])
    assert 'Lukasz\' "opacity"' in text
    assert "??^??" in text


def test_a_document_written_again_is_the_same(tmp_path):
    first = {k: p.read_bytes() for k, p in write(study_result(), tmp_path).items()}
    assert {k: p.read_bytes() for k, p in write(study_result(), tmp_path).items()} == first
    for name in FORMATS:
        assert [p.name for p in (tmp_path / name).iterdir()] == [NAME + FORMATS[name].suffix]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("needs_reader", {"abstained": "the confidence is below the limit"}),
        ("doubtful", {"doubts": ["unlike the training radiographs"]}),
        ("failed", {"reason": "InputError: the file is empty"}),
    ],
)
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("sr", "tid1500")])
def test_a_withheld_draft_says_why_and_nothing_else(tmp_path, name, status, why):
    path = write(study_result(status=status, **why), tmp_path, name)[name]
    text = pdf_text(path) if name == "pdf" else path.read_text()
    text = " ".join(text.split())
    assert WITHHELD[status] in text
    (reason,) = why.values()
    assert (reason if isinstance(reason, str) else reason[0]) in text
    assert TITLE.lower() in text.lower()
    assert cascade.RESEARCH_NOTICE in text
    for withheld in ("enlarged", "cardiomegaly", "Cardiomegaly", "0.81", "Pneumothorax"):
        assert withheld not in text


def test_reasons_are_told_one_after_the_other():
    draft = draft_of(study_result(status="doubtful", doubts=["odd", "unlike others"]))
    assert draft.conclusion == f"{WITHHELD['doubtful']} Reason: odd; unlike others."
    assert draft_of(study_result(status="failed")).conclusion == WITHHELD["failed"]


def test_a_reason_names_no_path():
    reason = "ValueError: Jane Doe/1.dcm is 'DOE^JANE' of 19480217"
    draft = draft_of(study_result(status="failed", reason=reason))
    assert draft.why == ("ValueError: the file is … of #",)


def test_pictures_have_documents_without_a_header(tmp_path):
    result = StudyResult(study_row(), [{"path": "a.png", "view": "unknown"}], [None])
    for identifiers in ("keep", "hash", "drop"):
        paths = write(result, tmp_path, "text", "fhir", "pdf", identifiers=identifiers)
        kinds = [
            e["resource"]["resourceType"] for e in json.loads(paths["fhir"].read_text())["entry"]
        ]
        assert "ImagingStudy" not in kinds
        assert "Patient" not in kinds


@pytest.mark.parametrize("identifiers", ["hash", "drop"])
def test_no_identifier_is_written(tmp_path, identifiers):
    paths = write(study_result(), tmp_path, identifiers=identifiers)
    assert set(paths) == set(FORMATS)
    for path in tmp_path.rglob("*"):
        body = b"" if path.is_dir() else content(path)
        body += str(path.relative_to(tmp_path)).encode()
        for keyword, secret in SECRETS.items():
            for part in secret.split("^"):
                assert part.encode() not in body, (path, keyword)
        assert b"2019-03-14" not in body
        assert b"1948-02-17" not in body
        assert b"Jane Doe" not in body


def test_hashes_are_the_same_in_every_run_and_drop_joins_nothing(tmp_path):
    def shown(identifiers, key, folder):
        path = write(study_result(), tmp_path / folder, "fhir", identifiers=identifiers, key=key)[
            "fhir"
        ]
        entries = [entry["resource"] for entry in json.loads(path.read_text())["entry"]]
        study = next(r for r in entries if r["resourceType"] == "ImagingStudy")
        return study["identifier"][0]["value"], study["subject"]

    hashed = short_hash("PatientID P123456", "secret")
    first = shown("hash", "secret", "a")
    assert first == shown("hash", "secret", "b")
    assert first[0].startswith("urn:oid:2.25.")
    assert first[1] == {"identifier": {"value": hashed}}
    assert shown("hash", "other", "c") != first
    one, two = shown("drop", "", "d"), shown("drop", "", "e")
    assert one[0] != two[0]
    assert one[1] == two[1] == {"display": "not named"}


def test_what_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"^formats=docx: expected some of jsonl, parquet, csv, "):
        create_writers(["docx"])
    with pytest.raises(InputError, match=r"^identifiers=hide: expected one of keep, hash, drop$"):
        create_writers(["jsonl"], identifiers="hide")
    with pytest.raises(InputError, match="CASCADE_IDENTIFIER_KEY"):
        create_writers(["text"], identifiers="hash")
    assert create_writers(["jsonl", "csv"], identifiers="hash") == []
    monkeypatch.setattr(writers_module, "_installed", lambda module: False)
    with pytest.raises(InputError, match=r"^formats=pdf needs fpdf.*cascade-cxr\[pacs\]"):
        create_writers(["pdf"], identifiers="keep")


def test_documents_without_probabilities_or_operating_point():
    draft = draft_of(study_result(findings=None, operating_point=None, probabilities=None))
    assert "Called present" not in draft_text(draft)
    assert draft_pdf(draft).startswith(b"%PDF-")
    assert "The draft is empty" in draft_text(draft._replace(sentences=""))


def test_a_study_that_no_library_foresaw_is_a_note(tmp_path, monkeypatch):
    def fail(draft, headers, keep):
        raise ValueError("DOE^JANE")

    monkeypatch.setitem(FORMATS, "text", FORMATS["text"]._replace(make=fail))
    (writer,) = create_writers(["text"], identifiers="keep")
    assert writer.write(study_result(), tmp_path) == "ValueError while it was made"
    assert list(tmp_path.rglob("*")) == []


def test_no_picture_is_written_unless_asked_for(tmp_path):
    pixels = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    images = [{"path": f"{n}.png", "status": "draft", "view": "frontal"} for n in range(3)]
    grey = np.array([[7, 9]], dtype=np.uint8)
    result = StudyResult(study_row(), images, [None] * 3, [pixels, None, grey])
    for writer in create_writers(FORMATS, identifiers="keep"):
        assert not writer.needs_pictures
        writer.write(result, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".png"]
    for body in (content(path) for path in tmp_path.rglob("*") if path.is_file()):
        assert b"/Subtype /Image" not in body
    *_, previews = create_writers(["jsonl"], identifiers="hash", previews=True)
    assert previews.needs_pictures
    assert previews.write(result, tmp_path) is None
    assert sorted(p.name for p in (tmp_path / "previews").iterdir()) == [
        f"{NAME}-1.png",
        f"{NAME}-3.png",
    ]
    first = np.asarray(Image.open(tmp_path / "previews" / f"{NAME}-1.png"))
    assert first.tolist() == [[0, 64], [128, 255]]
    second = np.asarray(Image.open(tmp_path / "previews" / f"{NAME}-3.png"))
    assert second.tolist() == [[7, 9]]
    nothing = result._replace(pictures=[None] * 3)
    assert previews.write(nothing, tmp_path) == "no image of the study could be read"


def test_notes_and_contradictions_are_told():
    notes = ["1 of 2 images failed: left out", "same SOP Instance UID as Jane Doe/1.dcm"]
    draft = draft_of(study_result(notes=notes, contradictions=["text says X, detector does not"]))
    text = draft_text(draft)
    assert "Contradiction:            text says X, detector does not" in text
    assert "Note:                     1 of 2 images failed: left out" in text
    assert "Jane" not in text


def test_a_study_of_copies_says_so():
    assert WITHHELD["duplicate"] in draft_text(draft_of(study_result(status="duplicate")))
