import pytest

from cascade.text.sentences import annotation_sentences, split_sentences, term_sentence


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ("normal", "No acute cardiopulmonary abnormality is identified."),
        ("cardiomegaly/borderline", "There is borderline cardiomegaly."),
        (
            "pulmonary atelectasis/base/bilateral",
            "There is bilateral pulmonary atelectasis in the base.",
        ),
        ("nodule/lung/upper lobe/right", "There is a right nodule in the lung upper lobe."),
        ("nodule/lung/left/multiple", "There are multiple left nodules in the lung."),
        ("catheters, indwelling/right", "There are right indwelling catheters."),
        (
            "thoracic vertebrae/degenerative/mild",
            "There is mild degenerative change of the thoracic spine.",
        ),
        ("aorta/tortuous", "There is tortuosity of the aorta."),
        ("pleural effusion/bilateral/small", "There is a small bilateral pleural effusion."),
        ("", ""),
    ],
)
def test_terms(term, sentence):
    assert term_sentence(term) == sentence


def test_every_piece_of_the_annotation_is_in_the_sentence():
    sentence = annotation_sentences(
        "opacity/lung/lower lobe/left/mild; scoliosis/thoracic vertebrae"
    )
    for piece in (
        "opacity",
        "lung",
        "lower lobe",
        "left",
        "mild",
        "scoliosis",
        "thoracic vertebrae",
    ):
        assert piece in sentence


def test_empty_annotation_says_nothing():
    assert annotation_sentences("") == ""


def test_sentences_split_only_before_capitals():
    assert split_sentences("Size is 1.5 cm. stable. No change") == [
        "Size is 1.5 cm. stable.",
        "No change",
    ]
