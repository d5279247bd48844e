"""The rows of the page: runs or seeds of one configuration with their scores, cost and difference from the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sciriff.report.sweep.configs import SEED, flat_config, is_untrained
from sciriff.report.sweep.cost import Cost, cost_of, mean_cost
from sciriff.results.comparison import Comparison, compare
from sciriff.results.difference import Difference
from sciriff.results.general_comparison import GeneralPooled, pooled_general
from sciriff.results.seeds import Group, Pooled, pooled
from sciriff.results.shared_documents import SharedDocuments


@dataclass(frozen=True)
class SweepRow:
    """What the page says of a group. The first row is the baseline, whose comparison is None."""

    number: int
    group: Group
    columns: dict[str, Pooled]
    mean: Pooled
    comparison: Comparison | None
    config: dict[str, str]
    """Flat config of the first run, without the seed."""
    cost: Cost
    notes: list[str]
    documents: list[SharedDocuments]
    """Tasks with several instances about one document, in this group or in its comparison."""
    general: GeneralPooled | None = None
    """The general tasks; None unless all runs of the group have them."""

    @property
    def baseline(self) -> bool:
        return self.number == 1

    @property
    def trained(self) -> bool:
        """Whether the model was trained, or merged from such."""
        return not is_untrained(self.config)

    @property
    def difference(self) -> Difference | None:
        """Difference of the mean, or of the only column."""
        return (self.comparison.mean or self.comparison.columns[0]) if self.comparison else None

    def column_difference(self, key: str) -> Difference | None:
        """Difference of one column; None if it was not compared."""
        found = self.comparison.columns if self.comparison else []
        return next((column for column in found if column.name == key), None)

    @property
    def general_mean(self) -> Pooled | None:
        """Mean of the general tasks."""
        return self.general.mean if self.general else None

    @property
    def general_difference(self) -> Difference | None:
        """Difference of the general mean, or of the only general task."""
        found = self.comparison.general if self.comparison else None
        return found.mean or next(iter(found.tasks), None) if found else None

    def general_task(self, name: str) -> Pooled | None:
        """One general task; None without it."""
        return next((task for task in self.general.tasks if task.name == name), None) if self.general else None

    def general_task_difference(self, name: str) -> Difference | None:
        """Difference of one general task; None if it was not compared."""
        found = self.comparison.general if self.comparison else None
        return next((task for task in found.tasks if task.name == name), None) if found else None


def rows_of(groups: Sequence[Group], resamples: int, compared: Sequence[Comparison] | None = None) -> list[SweepRow]:
    """A row for each group, the baseline first. `compared` are the others' comparisons with it, made already. A run
    that cannot be compared has a note that says why, and so has one whose cost cannot be read."""
    rows = []
    for number, group in enumerate(groups, start=1):
        (*columns, mean), notes, documents = _scored(group, resamples)
        comparison, cost = None, Cost()
        try:
            if number > 1:
                comparison = compared[number - 2] if compared else compare(groups[0], group, resamples)
                documents = comparison.documents
                notes += [*comparison.notes, *(comparison.general.notes if comparison.general else [])]
        except ValueError as error:  # other rules of scoring, or no instance in common
            notes.append(str(error))
        try:
            cost = mean_cost([cost_of(run.folder) for run in group.runs])
        except ValueError as error:
            notes.append(f"its cost is not known: {error}")
        general = _general(group, resamples)
        notes += general.notes if general else []
        config = {key: value for key, value in flat_config(group.runs[0].folder).items() if key != SEED}
        by_name = {column.name: column for column in columns}
        rows.append(
            SweepRow(
                number, group, by_name, mean, comparison, config, cost, list(dict.fromkeys(notes)), documents, general
            )
        )
    return rows


def _general(group: Group, resamples: int) -> GeneralPooled | None:
    """The general tasks; the intervals of a single run are those of its scores.json, where it has any."""
    found = pooled_general(group, resamples)
    if found is None or len(group.runs) > 1:
        return found

    def limits_of(name: str) -> tuple[float, float] | None:
        score = group.runs[0].general_scores.get(name)
        return score.get("ci95") if score else None

    tasks = [replace(task, ci95=limits_of(task.name) or task.ci95) for task in found.tasks]
    mean = found.mean and replace(found.mean, ci95=limits_of("mean") or found.mean.ci95)
    return replace(found, tasks=tasks, mean=mean)


def _scored(group: Group, resamples: int) -> tuple[list[Pooled], list[str], list[SharedDocuments]]:
    """What `pooled` gives; the intervals of a single run are those of its scores.json, where it has any."""
    found, notes, documents = pooled(group, resamples)
    if len(group.runs) > 1:
        return found, notes, documents
    known = group.runs[0].scores
    names = [*(column.name for column in found[:-1]), "mean"]
    limits = [known[name].get("ci95") if name in known else None for name in names]
    found = [replace(column, ci95=ci95 or column.ci95) for column, ci95 in zip(found, limits, strict=True)]
    return found, notes, documents
