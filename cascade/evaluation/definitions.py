"""Which figures the page shows first, and what each figure means, in words."""

from __future__ import annotations

HEADLINE = (
    "exact",
    "precision1",
    "precision2",
    "bleu1",
    "bleu4",
    "rouge_l",
    "macro_f1_abnormal",
    "macro_recall_abnormal",
    "macro_auroc",
)
CHARTED = ("precision1", "bleu4", "exact", "rouge_l", "macro_f1_abnormal", "macro_auroc")
CHANCE = {"macro_auroc": 0.5}

MEANINGS = {
    "precision1": "mean share of a row's words that its reference has too",
    "precision2": "the same of word pairs",
    "bleu1": "corpus BLEU of single words, with brevity penalty",
    "bleu4": "corpus BLEU up to four words, with brevity penalty",
    "exact": "share of studies written word for word",
    "rouge_l": "longest common subsequence",
    "macro_f1_abnormal": "mean over the diseases, normal left out",
    "macro_recall_abnormal": "share of a disease's studies found, mean over the diseases",
    "macro_auroc": "detection, mean over the labels",
}
"""What a headline figure measures, in a few words."""

DEFINITIONS = (
    (
        "P-1 to P-4",
        "Mean n-gram precision, as which the printed BLEU of Shin et al. 2016 reads: "
        "the share of the hypothesis's n-grams that the reference has too, each counted at "
        "most as often as there, worked out for each study and averaged over studies. A hypothesis "
        "of fewer than n words counts 0. No brevity penalty.",
    ),
    (
        "BLEU-1 to BLEU-4",
        "Corpus BLEU (Papineni et al. 2002): counts are summed over all studies, then the "
        "geometric mean of the precisions of orders 1 to n, times the brevity penalty; unsmoothed.",
    ),
    ("Exact", "The share of studies whose hypothesis has the reference's words in its order."),
    (
        "ROUGE-L",
        "F-score (beta 1.2) of the longest common subsequence of words, mean over studies.",
    ),
    ("Distinct", "How many different texts the system wrote over all studies."),
    ("Length", "Words written over words of the references."),
    (
        "Precision, recall, F1",
        "Of the diseases that the hypothesis names against those that the reference names. Micro "
        "sums over diseases, macro averages over the diseases that some reference names; abnormal "
        "leaves out “normal”, which rewards silence.",
    ),
    (
        "AUROC, AP",
        "Area under the ROC curve and average precision of the label probabilities. Uncertain and "
        "unknown truth is left out; a label without a positive or a negative enters no mean.",
    ),
    (
        "Intervals",
        "95% percentile bootstrap: patients are drawn with replacement and bring their studies. "
        "A difference of two systems is worked out on the same draws (paired). It holds where its "
        "interval leaves out 0.",
    ),
    ("Not run", "METEOR and CIDEr."),
)
