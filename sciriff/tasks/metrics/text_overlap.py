"""BLEU and ROUGE: the n-grams and subsequences that two texts share."""

import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from sciriff.tasks.metrics.metric import Metric, harmonic, ratio

ORDERS = (1, 2, 3, 4)
"""Lengths of the n-grams of BLEU."""
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ROUGE_TOKEN = re.compile("[a-z0-9]+")


def _ngrams(words: Sequence[str], order: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(order)), strict=False)


def _shared_ngrams(prediction: Sequence[str], reference: Sequence[str], order: int) -> int:
    """Number of n-grams that both texts share, with multiplicity. Memory does not grow with the prediction."""
    wanted = Counter(_ngrams(reference, order))
    return (Counter(filter(wanted.__contains__, _ngrams(prediction, order))) & wanted).total()


@cache
def _tokenizer_13a() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


class BleuCounts(NamedTuple):
    shared_1: float
    shared_2: float
    shared_3: float
    shared_4: float
    possible_1: float
    possible_2: float
    possible_3: float
    possible_4: float
    predicted_length: float
    reference_length: float


def _count_bleu(prediction: str, reference: str) -> BleuCounts:
    # Not stripped first, as sacrebleu does: the reference code's tokenizer joins a hyphen at the very end, too.
    pred, ref = (_tokenizer_13a()(text).split() for text in (prediction, reference))
    shared = [_shared_ngrams(pred, ref, order) for order in ORDERS]
    possible = [max(0, len(pred) - order + 1) for order in ORDERS]
    return BleuCounts._make([*shared, *possible, len(pred), len(ref)])


def _bleu(sums: BleuCounts) -> dict[str, float]:
    precisions = 1.0
    for shared, possible in zip(sums[:4], sums[4:8], strict=True):
        precisions = precisions * ratio(shared, possible)
    shortfall = 1 - ratio(sums.reference_length, sums.predicted_length)  # below 0 where the predictions are shorter
    brevity = math.e ** (shortfall * (shortfall < 0))
    return {"bleu": brevity * precisions**0.25}


bleu = Metric(numbers=BleuCounts, count=_count_bleu, scores=_bleu)
"""Corpus BLEU-4 in [0, 1]: Papineni et al. 2002, tokens of mteval-v13a, no smoothing. What sacrebleu
computes, except that a hyphen before a text's last newline is dropped like those before others."""


def rouge_scores(prediction: str, reference: str) -> tuple[float, ...]:
    """F measures of ROUGE-1, 2, L and Lsum (Lin 2004) without stemming, bit-equal to the rouge_score package.

    rouge_score's table of prediction words times reference words takes seconds for our tasks and gigabytes for an
    answer of a few megabytes; this takes one row of bits per prediction word.
    """
    pred_sentences, ref_sentences = (
        [ROUGE_TOKEN.findall(line) for line in text.lower().split("\n") if line] for text in (prediction, reference)
    )
    pred, ref = (list(chain.from_iterable(sentences)) for sentences in (pred_sentences, ref_sentences))
    [last] = deque(_lcs_rows(ref, pred), maxlen=1)
    longest = len(ref) - last.bit_count()
    summary = longest
    if not len(pred_sentences) == len(ref_sentences) == 1:
        summary = _summary_lcs(pred_sentences, ref_sentences, Counter(pred) & Counter(ref))

    def f_measure(shared: int, shorter: int = 0) -> float:
        return harmonic(shared / max(len(pred) - shorter, 1), shared / max(len(ref) - shorter, 1))

    unigrams, bigrams = _shared_ngrams(pred, ref, 1), _shared_ngrams(pred, ref, 2)
    return f_measure(unigrams), f_measure(bigrams, shorter=1), f_measure(longest), f_measure(summary)


def _lcs_rows(reference: Sequence[str], prediction: Sequence[str]) -> Iterator[int]:
    """Rows of the longest-common-subsequence table: one before the first prediction word and one after each.

    Bit i of a row is 0 where the subsequence gains a word at reference word i, so the zeros below bit i give its length
    over the first i words; one addition of long integers computes a row (Hyyro 2004, "Bit-parallel LCS-length
    computation revisited").
    """
    positions: dict[str, int] = {}
    for position, token in enumerate(reference):
        positions[token] = positions.get(token, 0) | 1 << position
    all_bits = (1 << len(reference)) - 1
    row = all_bits
    yield row
    for token in prediction:
        if token in positions:
            matched = row & positions[token]
            row = (row + matched | row - matched) & all_bits
        yield row


def _lcs_positions(reference: Sequence[str], prediction: Sequence[str]) -> Iterator[int]:
    """Positions of the reference words in the longest common subsequence; ties are broken as in rouge_score."""
    rows = list(_lcs_rows(reference, prediction))

    def length(words: int, row: int) -> int:
        return words - (rows[row] & ((1 << words) - 1)).bit_count()

    i, j = len(reference), len(prediction)
    while i and j:
        if reference[i - 1] == prediction[j - 1]:
            i, j = i - 1, j - 1
            yield i
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1


def _summary_lcs(predictions: list[list[str]], references: list[list[str]], shared: Counter[str]) -> int:
    """Number of reference words in their sentence's longest common subsequence with any predicted sentence; a word
    counts at most as often as both texts have it: `shared`, which is consumed."""
    different = set(map(tuple, predictions))
    hits = 0
    for reference in references:
        for position in set().union(*(_lcs_positions(reference, prediction) for prediction in different)):
            if shared[reference[position]] > 0:
                shared[reference[position]] -= 1
                hits += 1
    return hits


class RougeCounts(NamedTuple):
    instances: float
    rouge1: float
    rouge2: float
    rougeL: float
    rougeLsum: float


rouge = Metric(
    numbers=RougeCounts,
    count=lambda prediction, reference: RougeCounts(1, *rouge_scores(prediction, reference)),
    scores=lambda sums: {name: ratio(getattr(sums, name), sums.instances) for name in ROUGE},
)
"""Means over instances. The reference code prints the median of a bootstrap, which varies by about 0.002 per run."""
