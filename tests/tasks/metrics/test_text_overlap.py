"""BLEU and ROUGE equal the packages that define them."""

from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from sciriff.tasks.metrics.text_overlap import ROUGE, bleu, rouge_scores

WORDS = st.text(alphabet="ab c\n", max_size=60)
TEXTS = st.one_of(WORDS, st.text(max_size=60))
PACKAGE = RougeScorer(list(ROUGE))


@given(prediction=TEXTS, reference=TEXTS)
def test_rouge_equals_rouge_score(prediction: str, reference: str):
    package = PACKAGE.score(reference, prediction)
    assert rouge_scores(prediction, reference) == tuple(package[name].fmeasure for name in ROUGE)


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_bleu_of_summed_counts_equals_sacrebleu(pairs: list[tuple[str, str]]):
    predictions, references = zip(*pairs, strict=True)
    package = BLEU(tokenize="13a", smooth_method="none").corpus_score(list(predictions), [list(references)])
    numbers = [bleu.count(*pair) for pair in pairs]
    sums = bleu.numbers(*map(sum, zip(*numbers, strict=True)))
    assert abs(bleu.scores(sums)["bleu"] - package.score / 100) < 1e-12
