"""Write what the general tasks scored, and each of their leaf tasks, as a tab-separated table."""

from pathlib import Path

from sciriff.data.general_rows import GeneralTaskSettings
from sciriff.results.general_items import GeneralRun, score_task
from sciriff.results.score_tables import MISSING, write_tsv
from sciriff.results.scores import GeneralTask

HEADER = (
    *("task", "leaf", "metric", "n", "of", "weight", "shots", "chance", "value", "ci95_low", "ci95_high"),
    *("shortened_prompts", "skipped_prompts", "cut_answers", "unfinished_thoughts"),
)


def write_general_table(folder: Path, general: GeneralRun | None, resamples: int) -> None:
    """Write general.tsv (0-1): a row for each task, and one for each of its leaves below it. Without any, the table of
    an earlier choice of tasks is removed."""
    path = folder / "general.tsv"
    if general is None:
        path.unlink(missing_ok=True)
        return
    rows = []
    for name, task in general.settings.tasks.items():
        rows.append(_row(name, "", "", score_task(general, name, task, resamples)[0]))
        for leaf, about in task.leaves.items() if len(task.leaves) > 1 else ():
            alone = GeneralTaskSettings(task.metric, {leaf: about})
            rows.append(_row(name, leaf, f"{about.weight:g}", score_task(general, name, alone, resamples)[0]))
    write_tsv(path, [list(HEADER), *rows])


def _row(task: str, leaf: str, weight: str, score: GeneralTask) -> list[str]:
    low, high = score.get("ci95", (None, None))
    cells = (task, leaf, score["metric"], score["n"], score["of"], weight, score["shots"], score.get("chance"))
    unfinished = score["thoughts"]["unfinished"] if "thoughts" in score else 0
    counts = (score["shortened_prompts"], score["skipped_prompts"], score["cut_answers"], unfinished)
    return [_cell(value) for value in (*cells, score["value"], low, high, *counts)]


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    return f"{value:.4f}" if isinstance(value, float) else str(value)
