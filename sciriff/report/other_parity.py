"""The values that the other rules of scoring (`eval.parity`) would have given, beside those of this run."""

from dataclasses import dataclass
from typing import NamedTuple

from sciriff.results.scores import Scores, held_out_of, other_values
from sciriff.run.number_format import small_signed_points


class ParityRow(NamedTuple):
    """A value in [0, 1] that the two sets of rules give differently."""

    task: str
    name: str
    """Short name of a column, flat name of any other value."""
    here: float
    there: float

    @property
    def change(self) -> str:
        """What the other rules would add, in points of 100, with a sign and a typographic minus."""
        return small_signed_points(self.there - self.here).replace("-", "−")


@dataclass(frozen=True)
class OtherRules:
    """What scores.json says of the other rules: their `eval.parity`, and what they change."""

    parity: str
    sentence: str
    columns: list[ParityRow]
    details: list[ParityRow]


def other_parity(scores: Scores) -> OtherRules | None:
    """What the other rules would have given; None if the version that wrote the scores did not compute it."""
    other = scores.get("other_parity")
    if other is None:
        return None
    columns = []
    for column, here, there in other_values(scores):
        task, _, name = column.partition("/")
        columns.append(ParityRow(task, name, here, there))
    in_columns = {(task.name, flat) for task in held_out_of(scores) for flat in task.flat_names.values()}
    here_of = {task: row["details"] for task, row in scores["tasks"].items()}
    details = [
        ParityRow(task, name, here_of[task][name], there)
        for task, differing in other["tasks"].items()
        for name, there in differing["details"].items()
        if (task, name) not in in_columns and name in here_of.get(task, {})
    ]
    answers = sum(task["answers"] for task in other["tasks"].values())
    judged = sum(task["judged"] for task in other["tasks"].values())
    sentence = f"The same answers scored under eval.parity={other['parity']}"
    if answers:
        named = sum(bool(row.name) for row in columns)  # the mean and the median have no name
        sentence += f": {answers:,} count otherwise, {named} columns and {len(details)} other values differ."
    else:
        sentence += " have the same values throughout."
    if judged:
        sentence += f" {judged:,} of them were judged and keep their rating; the judge would be shown other texts."
    return OtherRules(other["parity"], sentence, columns, details)
