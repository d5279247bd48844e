"""Resampled columns are what scoring the resampled answers again would give."""

import numpy as np
import pytest
import sacrebleu

from sciriff.results.resampled_columns import parts
from sciriff.results.statistics import Array, resampled_sums
from sciriff.tasks.biored import BIORED
from sciriff.tasks.discomat import DISCOMAT
from sciriff.tasks.metrics.judge_rating import JudgeCounts
from sciriff.tasks.mup import MUP
from sciriff.tasks.qasper import QASPER
from sciriff.tasks.task import Scored, Task

TEXTS = {
    "biored_ner": (
        [
            '{"Gene": ["TIM-1"], "Disease": ["asthma"]}',
            '{"Gene": ["p53", "BRCA1"]}',
            '{"Species": ["mice"], "Gene": []}',
            '{"Chemical": ["aspirin", "ibuprofen", "water"]}',
        ],
        ['{"Gene": ["TIM-1"]}', "none that I know", '{"Species": ["mice", "rats"]}', '{"Chemical": ["aspirin"]}'],
    ),
    "discomat_te": (
        ["SiO2 44 mol% and Na2O 56 mol%", "the glass has 10 parts of B2O3", "no table here at all", "a b c d e f"],
        ["SiO2 44 mol% and Na2O 50 mol%", "the glass has 10 parts", "no table here at all .", "a b c d"],
    ),
}


def matrix(task: Task, scored: list[Scored]) -> Array:
    """A run without samples."""
    return np.array([[task.vector(row) for row in scored]], dtype=float)


@pytest.mark.parametrize("task", [BIORED, DISCOMAT], ids=lambda task: task.name)
def test_each_resample_is_exact(task: Task):
    references, answers = TEXTS[task.name]
    scored = [task.score(*pair) for pair in zip(answers, references, strict=True)]
    [part] = parts(task, [matrix(task, scored)])
    [resampled] = part.resampled(50)
    drawn = resampled_sums(np.eye(4), 50, task.name).astype(int)
    for number, weights in enumerate(drawn):
        places = np.repeat(np.arange(4), weights)
        details = task.details([scored[place] for place in places])
        [value] = [details[task.summary[name]] for name in task.headline]
        assert resampled[task.columns[0]][number] == pytest.approx(value, abs=1e-12)
        if task is DISCOMAT:
            hypotheses, expected = ([texts[place] for place in places] for texts in (answers, references))
            package = sacrebleu.corpus_bleu(hypotheses, [expected], smooth_method="none")
            assert value == pytest.approx(package.score / 100, abs=1e-12)


def test_runs_are_resampled_alike():
    scored = [BIORED.score(*pair) for pair in zip(*TEXTS["biored_ner"][::-1], strict=True)]
    rows = matrix(BIORED, scored)
    [alone] = parts(BIORED, [rows])
    [both] = parts(BIORED, [rows, rows * 2])
    column = BIORED.columns[0]
    first, second = both.resampled(40)
    assert (first[column] == alone.resampled(40)[0][column]).all()
    assert second[column] == pytest.approx(first[column])
    assert both.values(1)[0] == pytest.approx(both.values(0)[0])


def judged(task: Task, points: list[float | None]) -> Array:
    text = '{"answer": "x", "evidence": []}' if task.parse else "a text"
    plain = task.score(text, text)
    return matrix(task, [Scored(**{**vars(plain), "judge": JudgeCounts(p or 0, float(p is not None))}) for p in points])


def test_a_judge_counts_where_it_rated():
    [part] = parts(MUP, [judged(MUP, [1, None, 0.5, None])])
    assert (part.n, part.values(0)) == (2, [{MUP.columns[0]: 0.75}])
    assert (part.resampled(200)[0][MUP.columns[0]] >= 0.5).all(), "no resample is without a rating"
    [part] = parts(MUP, [judged(MUP, [1, None, 0.5, None]), judged(MUP, [0, 1, None, None])])
    assert (part.n, part.values(1)) == (1, [{MUP.columns[0]: 0}])
    assert parts(MUP, [judged(MUP, [None, None])]) == []
    evidence, judge = parts(QASPER, [judged(QASPER, [1, None])])
    assert (evidence.n, evidence.columns) == (2, QASPER.columns[1:])
    assert (judge.n, judge.columns) == (1, QASPER.columns[:1])
