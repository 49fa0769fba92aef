"""Which figures the page shows first, and what each figure means, in words."""

from __future__ import annotations

HEADLINE = (
    "exact",
    "precision1",
    "precision2",
    "bleu1",
    "bleu4",
    "rouge_l",
    "meteor",
    "cider",
    "macro_f1_abnormal",
    "macro_recall_abnormal",
    "clin_micro_f1",
    "clin_macro_f1_abnormal",
    "clin5_micro_f1",
    "contradiction",
    "side_errors",
    "macro_auroc",
)
CHARTED = (
    *("precision1", "bleu4", "exact", "rouge_l"),
    *("macro_f1_abnormal", "clin_macro_f1_abnormal", "macro_auroc"),
)
CHANCE = {"macro_auroc": 0.5}

MEANINGS = {
    "precision1": "mean share of a row's words that its reference has too",
    "precision2": "the same of word pairs",
    "bleu1": "corpus BLEU of single words, with brevity penalty",
    "bleu4": "corpus BLEU up to four words, with brevity penalty",
    "exact": "share of studies written word for word",
    "rouge_l": "longest common subsequence",
    "meteor": "words aligned by form, stem, synonym and paraphrase, recall first (METEOR 1.5)",
    "cider": "n-grams weighed by how rare they are among the references scored; 0 to 10",
    "macro_f1_abnormal": "mean over the diseases, normal left out",
    "macro_recall_abnormal": "share of a disease's studies found, mean over the diseases",
    "clin_micro_f1": "labels mined from both texts, normal among them: silence scores too",
    "clin_macro_f1_abnormal": "mean over the mined findings, normal left out",
    "clin5_micro_f1": "atelectasis, cardiomegaly, consolidation, edema and effusion",
    "contradiction": "share of studies: a finding denied by one text and asserted by the other",
    "side_errors": "left for right, of the findings that both texts put on a side; lower is better",
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
    (
        "METEOR",
        "METEOR 1.5, English, by the Java program that pycocoevalcap brings: its corpus figure, "
        "which is worked out from sums over rows, not a mean of rows. -norm cuts the words again.",
    ),
    (
        "CIDEr",
        "As pycocoevalcap prints it (0 to 10): n-grams of one to four words, weighed by "
        "log(studies / references that have it) among the references scored here, counted at most "
        "as often as in the reference, another length penalised, which its authors call CIDEr-D; "
        "mean over studies. “Plain” is their CIDEr: the cosine alone. Words are not stemmed.",
    ),
    (
        "sacreBLEU",
        "Corpus BLEU-4 on the texts as written by sacreBLEU, which has a tokeniser of its own and "
        "smooths; 0 to 1 here, where sacreBLEU prints it times 100.",
    ),
    (
        "Copied",
        "The share of studies whose text stands word for word among the training reports.",
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
        "Clin precision, recall, F1",
        "Of the labels (ChestX-ray14's) that the free-text miner reads as present in the "
        "hypothesis against those in the reference; a doubt that leans towards a finding counts. "
        "“Abnormal” leaves out normal; “abnormal studies” are those whose reference is not read as "
        "normal; “of five” are atelectasis, cardiomegaly, consolidation, edema and effusion. "
        "Macro averages over the labels that some reference asserts.",
    ),
    (
        "Contradiction",
        "Share of studies in which the hypothesis asserts a finding that the reference denies, or "
        "denies one that it asserts; of assertions: among the findings of a study on which both "
        "texts take a stand. Silence and doubt contradict nothing. Lower is better.",
    ),
    (
        "Side errors",
        "Of the findings of a study that both texts assert and put on a side: how many have no "
        "side in common, left for right. Lower is better.",
    ),
    (
        "AUROC, AP",
        "Area under the ROC curve and average precision of the label probabilities. Uncertain and "
        "unknown truth is left out; a label without a positive or a negative enters no mean. "
        "A detector that knows nothing has AUROC 0.5 and an AP of the share of positives.",
    ),
    (
        "Brier, calibration error",
        "Mean squared error of the probability; mean gap between probability and share of "
        "positives in ten bins of equal mass. 0 is best.",
    ),
    (
        "Operating points",
        "Sensitivity, specificity, precision and F1 at a threshold that was chosen on the "
        "validation studies, for the best F1, for a sensitivity or for a specificity of 0.95.",
    ),
    (
        "McNemar",
        "Exact two-sided test of the studies on which just one of two systems is right: exact "
        "match, and each label at its best-F1 threshold, corrected for the number of labels.",
    ),
    (
        "Intervals",
        "95% percentile bootstrap: patients are drawn with replacement and bring their studies. "
        "A difference of two systems is worked out on the same draws (paired). It holds where its "
        "interval leaves out 0.",
    ),
)
