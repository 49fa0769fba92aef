"""What the paper's released lists hold, as recounted from them (Shin et al. 2016)."""

PAPER = {
    "normal": 2696,
    "calcified granuloma": 174,
    "thoracic vertebrae/degenerative": 118,
    "lung/hypoinflation": 117,
    "calcinosis": 84,
    "opacity": 81,
    "spine/degenerative": 80,
    "cardiomegaly": 64,
    "scoliosis": 61,
    "lung/hyperdistention": 46,
    "surgical instruments": 41,
    "spondylosis": 39,
    "osteophyte": 39,
    "catheters, indwelling": 38,
    "fractures, bone": 36,
    "granulomatous disease": 36,
    "nodule": 33,
}
"""Images of each of its 17 labels, by the names of the release."""
