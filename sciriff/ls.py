"""List runs: what each is doing, how far it is, its score and its age. `python -m sciriff.ls [RUN ...]`

RUN is a run's folder, a folder of runs, or a pattern of names in runs/; without any, all of runs/ is listed.
"""

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff import config as configuration
from sciriff.finished_runs import RUNS, find_folders
from sciriff.manifest import Manifest
from sciriff.run_dir import RunDir
from sciriff.stage import USER_ERROR, is_users_mistake
from sciriff.summary import mean_line

HEADER = ("run", "status", "stage", "mean", "age")
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Listed:
    """One run as it is now."""

    folder: Path
    status: str
    """running, finished, failed, interrupted, or new where no stage has begun."""
    stage: str
    """The last one that began, with the step or row that it is at where that is known."""
    mean: str
    changed: float
    """When something in it last changed, seconds since the epoch."""


def main() -> int:
    """Run the command line. Returns the exit status: 0, or 2 for what a person can mend."""
    parser = argparse.ArgumentParser(prog="python -m sciriff.ls", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"a run, a folder of runs, or a pattern ({RUNS}/)")
    arguments = parser.parse_args()
    try:
        if not arguments.runs and not Path(RUNS).is_dir():
            raise ValueError(f"there is no folder {RUNS}/ here; `python -m sciriff.train` makes runs in it")
        rows = [listed(folder) for folder in find_folders(arguments.runs or [RUNS])]
    except (ValueError, OSError) as error:
        if not is_users_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print("\n".join(lines(rows, time.time())))
    return 0


def listed(folder: Path) -> Listed:
    """What the files of a run say of it. ValueError for a manifest or scores that cannot be read."""
    run = RunDir(folder)
    manifest = Manifest.read(run.manifest)
    records = list(manifest.stages.items())
    stage, record = records[-1] if records else ("", None)
    if is_held(run):
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
    files = (run.config, run.manifest, run.metrics, run.scores, *run.root.glob("logs/*.log"))
    changed = max((path.stat().st_mtime for path in files if path.is_file()), default=folder.stat().st_mtime)
    return Listed(folder, status, stage, _mean(run), changed)


def _stages(run: RunDir) -> set[str]:
    """The stages that the run is to have; none are known of a config that another version wrote."""
    try:
        return set(configuration.load(run.config).active_stages)
    except ValueError:
        return set()


def is_held(run: RunDir) -> bool:
    """Whether a driver owns the run now."""
    if not run.lock.is_file():
        return False
    with run.lock.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _last_step(metrics: Path) -> str | None:
    """`120/1106` of the last whole row of metrics.jsonl."""
    if not metrics.is_file():
        return None
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 64 * 1024))
        for line in reversed(file.read().split(b"\n")[:-1]):
            try:
                row: Any = json.loads(line)
                return f"{int(row['step'])}/{int(row['steps'])}"
            except (ValueError, KeyError, TypeError):
                continue
    return None


def _mean(run: RunDir) -> str:
    if not run.scores.is_file():
        return ""
    try:
        return mean_line(json.loads(run.scores.read_bytes())["summary"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run.scores}: not the scores of a run ({error!r}); run the score stage again") from None


def age(seconds: float) -> str:
    """`3 h` and the like, in the largest unit that is there once."""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def lines(rows: list[Listed], now: float) -> list[str]:
    """The table, the run that changed last at its end."""
    cells = [HEADER, *_cells(rows, now)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(rows: list[Listed], now: float) -> Iterator[tuple[str, ...]]:
    for row in sorted(rows, key=lambda row: (row.changed, row.folder)):
        name = row.folder.relative_to(RUNS) if row.folder.is_relative_to(RUNS) else row.folder
        yield str(name), row.status, row.stage, row.mean, age(max(0.0, now - row.changed))


if __name__ == "__main__":
    sys.exit(main())
