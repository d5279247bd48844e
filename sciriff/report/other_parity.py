"""The values that the other rules of scoring (`eval.parity`) would have given, beside those of this run."""

from dataclasses import dataclass

from sciriff.results.scores import Scores, other_values
from sciriff.run.number_format import small_signed_points
from sciriff.tasks import HELD_OUT


@dataclass(frozen=True)
class ParityRow:
    """One value in [0, 1] that the two sets of rules give differently."""

    task: str
    name: str
    """Of a column of the summary its short name, of another value its flat name."""
    here: float
    there: float

    @property
    def change(self) -> str:
        """What the other rules would add, in points of 100, with a sign and a real minus."""
        return small_signed_points(self.there - self.here).replace("-", "−")


@dataclass(frozen=True)
class OtherRules:
    """What scores.json says of the other rules."""

    parity: str
    """Their `eval.parity`."""
    columns: list[ParityRow]
    details: list[ParityRow]
    answers: int
    """That count otherwise under them."""
    judged: int
    """Of these the rated ones."""

    @property
    def sentence(self) -> str:
        """What differs, for people who set a number beside an old one."""
        rules = f"The same answers scored under eval.parity={self.parity}"
        if not self.answers:
            return f"{rules} have the same values throughout."
        columns = sum(bool(row.name) for row in self.columns)
        text = (
            f"{rules}: {self.answers:,} count otherwise, {columns} columns and {len(self.details)} other values differ."
        )
        if self.judged:
            text += f" {self.judged:,} of them were judged and keep their rating; the judge would be shown other texts."
        return text


def other_parity(scores: Scores) -> OtherRules | None:
    """What the other rules would have given; None of scores that a version made which did not look."""
    other = scores.get("other_parity")
    if other is None:
        return None
    columns = []
    for column, here, there in other_values(scores):
        task, _, name = column.partition("/")
        columns.append(ParityRow(task, name, here, there))
    in_columns = {(task.name, task.summary[short]) for task in HELD_OUT for short in task.headline}
    here_of = {task: row["details"] for task, row in scores["tasks"].items()}
    details = [
        ParityRow(task, name, here_of[task][name], there)
        for task, differing in other["tasks"].items()
        for name, there in differing["details"].items()
        if (task, name) not in in_columns and name in here_of.get(task, {})
    ]
    return OtherRules(
        parity=other["parity"],
        columns=columns,
        details=details,
        answers=sum(task["answers"] for task in other["tasks"].values()),
        judged=sum(task["judged"] for task in other["tasks"].values()),
    )
