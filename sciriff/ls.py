"""List runs: what each is doing, how far it is, its score and its age. `python -m sciriff.ls [RUN ...]`

RUN is a run's folder, a folder of runs, or a pattern of names in runs/; without any, all of runs/ is listed.
"""

import fnmatch
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from sciriff import config as configuration
from sciriff.driver.slurm import queue
from sciriff.driver.slurm.queue import SlurmTask
from sciriff.results.finished_runs import RUNS, find_folders
from sciriff.results.scores import read_general_scores, read_summary
from sciriff.results.summary_table import general_mean_line, mean_line
from sciriff.results.terminal_table import table_lines
from sciriff.run.arguments import ArgumentParser
from sciriff.run.locks import is_owned
from sciriff.run.manifest import Manifest
from sciriff.run.messages import say, say_error, show
from sciriff.run.number_format import age
from sciriff.run.run_dir import RunDir
from sciriff.run.slurm_command import NoAnswer
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError
from sciriff.stage import USER_ERROR, command

HEADER = ("run", "status", "stage", "mean", "age")
GENERAL = "general"
"""Column after the mean, if some run has general tasks."""


@dataclass(frozen=True)
class Listed:
    """One run as it is now."""

    folder: Path
    status: str
    """running, finished, failed, interrupted, new where no stage has begun, or damaged where its files cannot be read;
    of jobs of a sweep in Slurm queued or running, with the id there."""
    stage: str
    """The last one that began, with the step or row that it is at where that is known."""
    mean: str
    changed: float
    """When something in it last changed, seconds since the epoch."""
    general: str = ""
    """Mean of its general tasks."""
    damage: str | None = None
    """Which file cannot be read, and why."""


@command
def main() -> int:
    """Run the command line and return its exit status, USER_ERROR for a damaged run, too."""
    parser = ArgumentParser(prog="python -m sciriff.ls", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"a run, a folder of runs, or a pattern ({RUNS}/)")
    arguments = parser.parse_args()
    if not arguments.runs and not Path(RUNS).is_dir():
        raise UserError(f"there is no folder {RUNS}/ here; `python -m sciriff.train` makes runs in it")
    rows = all_listed(arguments.runs or [RUNS])
    show(*lines(rows, time.time()))
    damaged = [row.damage for row in rows if row.damage is not None]
    for damage in damaged:
        say_error(damage)
    return USER_ERROR if damaged else 0


def all_listed(wanted: Sequence[str]) -> list[Listed]:
    """The runs that these names mean, with those that only wait in Slurm. UserError for a name that means none."""
    in_slurm = tasks_of_sweeps(wanted)
    waiting = {folder: task for folder, task in in_slurm.items() if not RunDir(folder).config.is_file()}
    rows: dict[Path, Listed] = {}
    for text in wanted:
        queued = [folder for folder in waiting if _stands_for(text, folder)]
        try:
            found = find_folders([text])
        except ValueError:
            if not queued:
                raise
            found = []
        for folder in found:
            row = listed(folder)
            task = in_slurm.get(folder.absolute())
            rows[folder.resolve()] = row if task is None else replace(row, status=f"{task.status} ({task.id})")
        for folder in queued:
            task = waiting[folder]
            shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
            submitted = Path(task.script).stat().st_mtime
            rows.setdefault(folder.resolve(), Listed(shown, f"{task.status} ({task.id})", "", "", submitted))
    return list(rows.values())


def tasks_of_sweeps(wanted: Sequence[str]) -> dict[Path, SlurmTask]:
    """Run folder -> its task in Slurm, for runs of sweeps near these names that wait or run there."""
    near = {Path(RUNS), *(place for text in wanted for place in (Path(text), Path(text).parent))}
    sweeps = {scripts.parent.resolve() for place in near if place.is_dir() for scripts in place.glob("sweep-*/slurm")}
    if not sweeps or not queue.is_there():
        return {}
    try:
        tasks = queue.tasks()
    except NoAnswer as error:
        say(f"Slurm does not answer ({error}); this is what the folders tell")
        return {}
    return {Path(folder): task for place in sweeps for folder, task in queue.of_sweep(place, tasks.values()).items()}


def _stands_for(text: str, folder: Path) -> bool:
    """Whether a name on the command line means a folder that need not exist yet."""
    places = [Path(text).absolute(), Path(RUNS).absolute() / text]
    return any(folder.is_relative_to(place) or fnmatch.fnmatch(str(folder), str(place)) for place in places)


def listed(folder: Path) -> Listed:
    """A run by its files."""
    run = RunDir(folder)
    files = (run.config, run.manifest, run.metrics, run.scores, *run.root.glob("logs/*.log"))
    changed = max((path.stat().st_mtime for path in files if path.is_file()), default=folder.stat().st_mtime)
    try:
        general = general_mean_line(read_general_scores(run.scores)) if run.scores.is_file() else ""
        return Listed(folder, *_read(run), changed, general)
    except ValueError as error:
        return Listed(folder, "damaged", "", "", changed, damage=str(error))


def _read(run: RunDir) -> tuple[str, str, str]:
    """Status, stage and mean. UserError for a config, a manifest or scores that cannot be read."""
    manifest = Manifest.read(run.manifest)
    order = [stage for stage in configuration.STAGES if stage in manifest.stages]
    records = [(stage, manifest.stages[stage]) for stage in order]
    stage, record = records[-1] if records else ("", None)
    if is_owned(run):
        status = "running"
    elif record is None:
        status = "new"
    elif (unfinished := next(((s, r) for s, r in records if r.status != "done"), None)) is not None:
        stage, record = unfinished
        status = "failed" if record.status == "failed" else "interrupted"
    else:
        status = "finished" if _stages(run) <= set(manifest.stages) else "interrupted"
    if status != "finished" and stage == "train" and (step := _last_step(run.metrics)):
        stage = f"{stage} {step}"
    return status, stage, mean_line(read_summary(run.scores)) if run.scores.is_file() else ""


def _stages(run: RunDir) -> set[str]:
    """The stages of a run; empty for a config that another version wrote."""
    if not run.config.is_file():
        return set()
    values = configuration.read(run.config)
    try:
        return set(configuration.from_plain(values).active_stages)
    except ValueError:
        return set()


class _Step(TypedDict):
    step: int
    steps: int


def _last_step(metrics: Path) -> str | None:
    """`120/1106` of the last whole row of metrics.jsonl."""
    if not metrics.is_file():
        return None
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 64 * 1024))
        for line in reversed(file.read().split(b"\n")[:-1]):
            try:
                row = typed(json.loads(line), _Step)
            except (ValueError, RecursionError):
                continue
            return f"{row['step']}/{row['steps']}"
    return None


def lines(rows: list[Listed], now: float) -> list[str]:
    """The table, the run that changed last at its end."""
    cells = []
    general = any(row.general for row in rows)
    for row in sorted(rows, key=lambda row: (row.changed, row.folder)):
        name = row.folder.relative_to(RUNS) if row.folder.is_relative_to(RUNS) else row.folder
        means = (row.mean, row.general) if general else (row.mean,)
        cells.append((str(name), row.status, row.stage, *means, age(max(0.0, now - row.changed))))
    header = (*HEADER[:-1], GENERAL, HEADER[-1]) if general else HEADER
    return table_lines(header, cells)


if __name__ == "__main__":
    sys.exit(main())
