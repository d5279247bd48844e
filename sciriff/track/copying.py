"""Copy what a run folder holds, and what is added to it, to a tracker that has been opened."""

import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from sciriff.data.training_metrics import metrics_row
from sciriff.results.scores import Summary, columns_and_statistics, parsed_summary
from sciriff.run.run_dir import RunDir
from sciriff.track.logged_tables import tracked_tables
from sciriff.track.sink import Sink, is_number
from sciriff.track.tail import Tail

POLL = 1.0
"""Seconds between two looks at the files of a growing run."""

NOT_A_METRIC = ("step", "steps")
TOKENS_SO_FAR = "tokens_so_far"
"""Of all steps up to this one: the other axis that curves are looked at over."""


def copy_run(run: RunDir, sink: Sink, follow: bool) -> None:
    """Copy what the run folder holds; with `follow`, also what is added until standard input closes."""
    tail = Tail(run.metrics)
    # A step is sent once its rows are complete, that is with the next step's: a validation is a row of its own, and
    # what a tracker has of a step cannot be added to later.
    held_step, held = -1, dict[str, float]()
    tokens_so_far = 0
    scores: bytes | None = None
    over = not follow
    # What lies there already may be of an earlier attempt that a stage is about to throw away, and a tracker forgets
    # nothing: so it is not copied before it has changed or the run is over.
    untouched = {path: _stamp(path) for path in (run.metrics, run.scores)}
    while True:
        untouched = {path: stamp for path, stamp in untouched.items() if stamp == _stamp(path) and not over}
        for number, row in tail.rows() if run.metrics not in untouched else ():
            step = metrics_row(row, f"{run.metrics}:{number}")["step"]
            if step != held_step:
                _send(sink, held_step, held)
                held_step, held = step, {}
            values = {k: v for k, v in row.items() if k not in NOT_A_METRIC and is_number(v)}
            if "tokens" in values:
                tokens_so_far = values["tokens"] + (tokens_so_far if number > 1 else 0)  # line 1: it is read again
                values[TOKENS_SO_FAR] = tokens_so_far
            held |= values
        if over:
            _send(sink, held_step, held)
        if run.scores not in untouched and run.scores.is_file() and (text := run.scores.read_bytes()) != scores:
            scores = text
            sink.scores(summary_values(parsed_summary(text, run.scores)))
        if over:
            break
        over = closed(POLL)  # and then once more: what was written before it closed
    for table in tracked_tables(run):
        sink.table(table)
    for path in (run.mix_card, run.mix_card_page, run.manifest, run.scores, run.report):
        if path.is_file():
            sink.file(path)


def _send(sink: Sink, step: int, values: dict[str, float]) -> None:
    """One step to the tracker, unless it is there already."""
    if step > sink.logged:
        sink.step(step, values)
        sink.logged = step


def summary_values(summary: Summary) -> dict[str, Any]:
    """The columns of scores.json (0-1) as flat names with the ends of their 95 % intervals and the standard deviations
    over samples, their mean and median, and how many columns these cover."""
    values: dict[str, Any] = {}
    known = columns_and_statistics(summary)
    for name, column in known.items():
        values[name] = column["value"]
        if "ci95" in column:
            values[f"{name}_ci95_low"], values[f"{name}_ci95_high"] = column["ci95"]
        if "sd_over_samples" in column:
            values[f"{name}_sd_over_samples"] = column["sd_over_samples"]
    return values | {"columns_scored": len(summary["columns"]), "columns_missing": ", ".join(summary["missing"])}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file was written, cut or replaced; None where there is none."""
    if not path.is_file():
        return None
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def closed(seconds: float) -> bool:
    """Wait so long, or until standard input closes; whether it has."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and not os.read(sys.stdin.fileno(), 4096):
            return True
    return False
