"""BLEU and ROUGE equal the packages that define them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from sciriff.tasks.metrics.text_overlap import ROUGE, bleu, rouge_scores

WORDS = st.text(alphabet="ab c\n", max_size=60)
HYPHENS = st.text(alphabet="ab5-\n .&;", max_size=30)
TEXTS = st.one_of(WORDS, HYPHENS, st.text(max_size=60))
PACKAGE = RougeScorer(list(ROUGE))


@given(prediction=TEXTS, reference=TEXTS)
def test_rouge_equals_rouge_score(prediction: str, reference: str):
    package = PACKAGE.score(reference, prediction)
    assert rouge_scores(prediction, reference) == tuple(package[name].fmeasure for name in ROUGE)


class Unstripped(BLEU):
    """sacrebleu as the reference code uses its tokenizer: on texts whose end was not stripped."""

    def _preprocess_segment(self, sent: str) -> str:
        return self.tokenizer(sent)


def bleu_of(*pairs: tuple[str, str]) -> float:
    numbers = [bleu.count(*pair) for pair in pairs]
    return bleu.scores(bleu.numbers(*map(sum, zip(*numbers, strict=True))))["bleu"]


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_bleu_of_summed_counts_equals_sacrebleu(pairs: list[tuple[str, str]]):
    predictions, references = zip(*pairs, strict=True)
    package = Unstripped(tokenize="13a", smooth_method="none").corpus_score(list(predictions), [list(references)])
    assert abs(bleu_of(*pairs) - package.score / 100) < 1e-12


def test_a_hyphen_before_the_last_newline_joins_as_any_other():
    assert bleu_of(("a b c d well-\n", "a b c d well")) == 1
    assert bleu_of(("a b c d well- \n", "a b c d well")) < 0.9
    assert bleu_of(("a b c d well-", "a b c d well")) < 0.9
    stripped = BLEU(tokenize="13a", smooth_method="none").corpus_score(["a b c d well-\n"], [["a b c d well"]])
    assert stripped.score / 100 == pytest.approx(0.669, abs=1e-3), "what the package makes of it"
