"""Columns of sums are what scoring the answers again would give, and each answer's part in them is its own."""

import numpy as np
import pytest
import sacrebleu

from sciriff.results.score_intervals import Term, combined_interval, correlation
from sciriff.results.statistics import Array
from sciriff.results.task_columns import parts
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
def test_the_score_of_sums_is_that_of_the_answers(task: Task):
    references, answers = TEXTS[task.name]
    scored = [task.score(*pair) for pair in zip(answers, references, strict=True)]
    [part] = parts(task, [matrix(task, scored)])
    random = np.random.default_rng(1)
    for weights in random.multinomial(4, [0.25] * 4, size=50):
        places = np.repeat(np.arange(4), weights)
        details = task.details([scored[place] for place in places])
        [value] = [details[task.summary[name]] for name in task.headline]
        [column] = part.scores(part.rows[0][0, places].sum(axis=0)).values()
        assert float(column) == pytest.approx(value, abs=1e-12)
        if task is DISCOMAT:
            hypotheses, expected = ([texts[place] for place in places] for texts in (answers, references))
            package = sacrebleu.corpus_bleu(hypotheses, [expected], smooth_method="none")
            assert value == pytest.approx(package.score / 100, abs=1e-12)


def test_runs_are_linearised_by_themselves():
    scored = [BIORED.score(*pair) for pair in zip(*TEXTS["biored_ner"][::-1], strict=True)]
    rows = matrix(BIORED, scored)
    [alone] = parts(BIORED, [rows])
    [both] = parts(BIORED, [rows, rows * 2])
    column = BIORED.columns[0]
    first, second = both.linear()
    assert (first[column].influence == alone.linear()[0][column].influence).all()
    assert second[column].influence == pytest.approx(first[column].influence)
    assert both.values(1)[0] == pytest.approx(both.values(0)[0])


def judged(task: Task, points: list[float | None]) -> Array:
    text = '{"answer": "x", "evidence": []}' if task.parse else "a text"
    plain = task.score(text, text)
    return matrix(task, [Scored(**{**vars(plain), "judge": JudgeCounts(p or 0, float(p is not None))}) for p in points])


def test_a_judge_counts_where_it_rated():
    [part] = parts(MUP, [judged(MUP, [1, None, 0.5, None])])
    assert (part.n, part.values(0)) == (2, [{MUP.columns[0]: 0.75}])
    [found] = part.linear()
    assert found[MUP.columns[0]].share.tolist() == [0.5, 0.5]
    [part] = parts(MUP, [judged(MUP, [1, None, 0.5, None]), judged(MUP, [0, 1, None, None])])
    assert (part.n, part.values(1)) == (1, [{MUP.columns[0]: 0}])
    assert parts(MUP, [judged(MUP, [None, None])]) == []
    [part] = parts(QASPER, [judged(QASPER, [1, None])])
    assert part.columns == QASPER.columns
    assert [part.n_of(column) for column in QASPER.columns] == [1, 2]
    assert part.linear()[0][QASPER.columns[0]].share.tolist() == [1, 0], "an answer without a rating has no part"
    [part] = parts(QASPER, [judged(QASPER, [None, None])])
    assert part.columns == QASPER.columns[1:]


def both_columns(random: np.random.Generator, unrated: int) -> Array:
    """A run of Qasper whose judge finds each answer as good as its evidence is, where it rated it."""
    good = random.random(60)
    rows = np.zeros((1, 60, len(QASPER.fields)))
    for name, values in {"instances": 1, "with_evidence": 1, "evidence_f1": good, "points": good, "rated": 1}.items():
        rows[0, :, QASPER.fields.index(name)] = values
    for name in ("points", "rated"):
        rows[0, :unrated, QASPER.fields.index(name)] = 0
    return rows


def test_the_columns_of_a_task_vary_together():
    """One answer without a rating must not set the judged column apart from the other: the mean of two columns that
    move together would seem a quarter surer than it is."""
    random = np.random.default_rng(7)
    whole, lacking = both_columns(random, 0), both_columns(random, 1)
    for rows, rated, least in (([whole], 60, 0.999), ([lacking], 59, 0.97), ([whole, lacking], 59, 0.97)):
        [part] = parts(QASPER, rows)
        assert part.n_of(QASPER.columns[0]) == rated
        for found in part.linear():
            judge, evidence = (found[column] for column in QASPER.columns)
            assert correlation(judge, evidence) > least
            alone, other, both = (
                combined_interval([Term(1 / len(scores), score, QASPER.name) for score in scores])
                for scores in ([judge], [evidence], [judge, evidence])
            )
            assert alone and other and both
            assert 2 * (both[1] - both[0]) == pytest.approx(alone[1] - alone[0] + other[1] - other[0], rel=0.02)


def test_a_rating_that_another_run_lacks_is_not_compared():
    random = np.random.default_rng(8)
    one, other = both_columns(random, 0), both_columns(random, 20)
    [part] = parts(QASPER, [one, other])
    points, judge = QASPER.fields.index("points"), QASPER.columns[0]
    assert part.values(0)[0][judge] == pytest.approx(one[0, 20:, points].mean())
    assert part.values(1)[0][judge] == pytest.approx(other[0, 20:, points].mean())
    assert part.n_of(judge) == 40
    assert part.n == part.n_of(QASPER.columns[1]) == 60
