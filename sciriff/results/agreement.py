"""How well persons, judge and metrics agree on which answers are right: agreement and Cohen's kappa.

kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of answers on which two agree, and p_e the share on which they
would by chance: right(first) right(second) + wrong(first) wrong(second) with each one's own shares. Cohen 1960, A
coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, equation 1.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from sciriff.data.marks import RIGHT, UNCLEAR, Mark, answer_digest, read_marks
from sciriff.data.records import AnswerKey, named
from sciriff.results.answer_scores import decided_scores
from sciriff.results.finished_runs import FinishedRun
from sciriff.results.run_answers import answers_file, has_own_answers, run_answers
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import COLUMNS
from sciriff.tasks.task import Task

RIGHT_FROM = 0.5
"""Score from which an answer counts as right: of a judge's ratings 1 to 5, which are scores of 0 to 1, those from 3."""

Verdicts = dict[AnswerKey, bool]
"""Answer -> whether somebody finds it right."""


@dataclass(frozen=True)
class Agreement:
    """Two that judged the same answers of one task and run."""

    run: str
    task: str
    first: str
    """A person, or the short name of a score."""
    second: str
    both_right: int
    first_alone: int
    """Right for the first and wrong for the second."""
    second_alone: int
    both_wrong: int

    @property
    def n(self) -> int:
        return self.both_right + self.first_alone + self.second_alone + self.both_wrong

    @property
    def agreement(self) -> float:
        return (self.both_right + self.both_wrong) / self.n

    @property
    def kappa(self) -> float | None:
        """None where both found all answers right, or all wrong: chance explains that, whatever they can tell apart."""
        first, second = ((self.both_right + alone) / self.n for alone in (self.first_alone, self.second_alone))
        chance = first * second + (1 - first) * (1 - second)
        return None if chance == 1 else (self.agreement - chance) / (1 - chance)


@dataclass
class NotUsed:
    """Marks of one person that count for nothing, and why."""

    person: str
    unclear: int = 0
    changed: list[str] = field(default_factory=list)
    """`RUN, ANSWER` of marks whose answer is another by now, or gone."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Run whose answers do not lie in its folder -> its marks, which cannot be checked."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Run that is not among those compared -> its marks."""


def read_persons(files: Sequence[Path]) -> dict[str, list[Mark]]:
    """Person -> marks. A person is a file: its name without the suffix, or its path if two have the same, or if a score
    is called so. UserError as `read_marks`, or for a file that is named twice."""
    stems = [path.stem for path in files] + [column.partition("/")[2] for column in COLUMNS]
    persons = {}
    for path in files:
        name = path.stem if stems.count(path.stem) == 1 else str(path)
        if name in persons:
            raise UserError(f"--marks {path} is given twice")
        persons[name] = read_marks(path)
    return persons


def agreements(
    runs: Sequence[FinishedRun], persons: Mapping[str, Sequence[Mark]], right_from: float = RIGHT_FROM
) -> tuple[list[Agreement], list[NotUsed]]:
    """Compare persons with each other and with scores, and a judge with the metrics, by run and task, on the answers
    that both judged. A judge and a metric are compared on the answers that some person found right or wrong."""
    not_used = {person: NotUsed(person) for person in persons}
    known = {name for run in runs for name in _names(run)}
    for person, marks in persons.items():
        not_used[person].unknown.update(Counter(mark.run for mark in marks if mark.run not in known))
    found: list[Agreement] = []
    for run in runs:
        marked: defaultdict[str, defaultdict[str, list[Mark]]] = defaultdict(lambda: defaultdict(list))
        for person, marks in persons.items():
            for mark in marks:
                if mark.run in _names(run):
                    marked[mark.task][person].append(mark)
        own = has_own_answers(RunDir(run.folder)) if marked else False
        for task in [task for task in run.tasks if task.name in run.numbers]:
            of_task: Mapping[str, list[Mark]] = marked.pop(task.name, {})
            digests = _digests(run, task.name, of_task.values()) if own and of_task else None
            verdicts = {}
            for person, marks in of_task.items():
                if digests is None:
                    not_used[person].elsewhere[run.name] += len(marks)
                else:
                    verdicts[person] = _verdicts(run, marks, digests, not_used[person])
            found += _pairs(run, task, verdicts, right_from)
        for of_task in marked.values():  # tasks that the run was not scored for
            for person, marks in of_task.items():
                _verdicts(run, marks, {}, not_used[person])
    return found, list(not_used.values())


def _names(run: FinishedRun) -> set[str]:
    """Names by which a page may have called a run."""
    return {run.name, run.folder.name, str(run.folder)}


def _digests(run: FinishedRun, task: str, marks: Iterable[Sequence[Mark]]) -> dict[AnswerKey, str] | None:
    """Digests of the marked answers as they are now; None where the run's folder has no answers."""
    if (path := answers_file(RunDir(run.folder), task)) is None:
        return None
    wanted = {mark.key for of_person in marks for mark in of_person}
    return {row.key: answer_digest(row.prediction) for row in run_answers(path, task) if row.key in wanted}


def _verdicts(run: FinishedRun, marks: Sequence[Mark], digests: Mapping[AnswerKey, str], not_used: NotUsed) -> Verdicts:
    """What a person finds right and wrong among the answers as they are now; the other marks go to `not_used`."""
    verdicts: Verdicts = {}
    for mark in marks:
        if digests.get(mark.key) != mark.answer:
            not_used.changed.append(f"{run.name}, {named(mark.key)}")
        elif mark.mark == UNCLEAR:
            not_used.unclear += 1
        else:
            verdicts[mark.key] = mark.mark == RIGHT
    return verdicts


def _pairs(run: FinishedRun, task: Task, persons: Mapping[str, Verdicts], right_from: float) -> Iterator[Agreement]:
    """Every two that judged an answer in common: persons with each other and with scores, a judge with metrics."""
    marked: set[AnswerKey] = set().union(*persons.values())
    scores: dict[str, Verdicts] = {short: {} for short in task.summary}
    for key, row in run.numbers.get(task.name, {}).items():
        if key in marked:
            for short, score in decided_scores(task, row.vector).items():
                scores[short][key] = score >= right_from
    judged = {column.partition("/")[2] for column in task.judged_columns}
    both_kinds = [*((True, *one) for one in persons.items()), *((False, *one) for one in scores.items())]
    for (is_person, first, ours), (_, second, theirs) in combinations(both_kinds, 2):
        if not is_person and (first in judged) == (second in judged):
            continue
        counts = Counter((ours[key], theirs[key]) for key in ours.keys() & theirs.keys())
        if counts:
            both = (counts[one, other] for one in (True, False) for other in (True, False))
            yield Agreement(run.name, task.name, first, second, *both)
