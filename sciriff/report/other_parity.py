"""The values that the other rules of scoring (`eval.parity`) would have given, beside those of this run."""

import json
from dataclasses import dataclass
from typing import Any

from sciriff.run.number_format import small_signed_points
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
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
class OtherParity:
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


def read(run: RunDir) -> OtherParity | None:
    """Of a run with scores; None where these were made by a version that did not look. UserError names the file."""
    try:
        values = json.loads(run.scores.read_bytes())
        return _parsed(values) if "other_parity" in values else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{run.scores}: not the scores of a run ({error!r}); run the score stage again") from None


def _parsed(values: dict[str, Any]) -> OtherParity:
    other, summary = values["other_parity"], values["summary"]
    columns = []
    for column, there in other["columns"].items():
        task, _, name = column.partition("/")
        columns.append(ParityRow(task, name, float(summary["columns"][column]["value"]), float(there)))
    if columns:
        columns += [ParityRow(name, "", float(summary[name]), float(other[name])) for name in ("mean", "median")]
    in_columns = {(task.name, task.summary[short]) for task in HELD_OUT for short in task.headline}
    details = [
        ParityRow(task, name, float(values["tasks"][task]["details"][name]), float(there))
        for task, differing in other["tasks"].items()
        for name, there in differing["details"].items()
        if (task, name) not in in_columns
    ]
    tasks = other["tasks"].values()
    return OtherParity(
        parity=str(other["parity"]),
        columns=columns,
        details=details,
        answers=sum(int(task["answers"]) for task in tasks),
        judged=sum(int(task["judged"]) for task in tasks),
    )
