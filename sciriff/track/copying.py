"""Copy the contents of a run folder, and what is added to it, to an open sink."""

import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sciriff.data.training_metrics import metrics_row
from sciriff.results.scores import (
    GeneralScores,
    Summary,
    columns_and_statistics,
    general_and_mean,
    parsed_general_scores,
    parsed_summary,
)
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.track.artifacts import tracked_artifacts
from sciriff.track.logged_tables import tracked_tables
from sciriff.track.sink import Sink, is_number
from sciriff.track.tail import Tail

POLL = 1.0
"""Seconds between two checks of a growing run's files."""

NOT_A_METRIC = ("step", "steps")
TOKENS_SO_FAR = "train/tokens_so_far"
"""Tokens of all steps up to this one, an alternative x axis for curves."""


def copy_run(run: RunDir, sink: Sink, follow: bool, artifacts: Sequence[str] = ()) -> None:
    """Copy the run folder; with `follow`, also what is added to it until standard input closes. `artifacts` are the
    kinds that follow once all stages are done."""
    tail = Tail(run.metrics)
    # A step is sent when the next one begins: its validation is a row of its own, and a tracker takes nothing more for
    # a step that was sent.
    held_step, held = -1, dict[str, float]()
    tokens_so_far = 0
    scores: bytes | None = None
    over = not follow
    # Existing files may belong to an earlier attempt that a stage is about to discard, and a tracker cannot delete.
    # They are copied only after they have changed or the run is over.
    untouched = {path: _stamp(path) for path in (run.metrics, run.scores)}
    while True:
        untouched = {path: stamp for path, stamp in untouched.items() if stamp == _stamp(path) and not over}
        for number, row in tail.rows() if run.metrics not in untouched else ():
            step = metrics_row(row, f"{run.metrics}:{number}")["step"]
            if step != held_step:
                _send(sink, held_step, held)
                held_step, held = step, {}
            held |= {tag(k): v for k, v in row.items() if k not in NOT_A_METRIC and is_number(v)}
            if is_number(row.get("tokens")):
                tokens_so_far = row["tokens"] + (tokens_so_far if number > 1 else 0)  # line 1: the file restarted
                held[TOKENS_SO_FAR] = tokens_so_far
        if over:
            _send(sink, held_step, held)
        if run.scores not in untouched and run.scores.is_file() and (text := run.scores.read_bytes()) != scores:
            scores = text
            general = parsed_general_scores(text, run.scores)
            sink.scores(summary_values(parsed_summary(text, run.scores), general))
        if over:
            break
        over = closed(POLL)  # one more round copies what was written before standard input closed
    for table in tracked_tables(run):
        sink.table(table)
    for path in (run.mix_card, run.mix_card_page, run.manifest, run.scores, run.report):
        if path.is_file():
            sink.file(path)
    if artifacts and Manifest.read(run.manifest).is_over:
        for artifact in tracked_artifacts(run, artifacts):
            sink.artifact(artifact)


def tag(name: str) -> str:
    """Name at the tracker of a value of metrics.jsonl: `train/loss`, `validation/science_loss`."""
    group, _, rest = name.partition("_")
    return f"validation/{rest}" if group == "validation" else f"train/{name}"


def _send(sink: Sink, step: int, values: dict[str, float]) -> None:
    """Send one step to the tracker, unless it has it already."""
    if step > sink.logged:
        sink.step(step, values)
        sink.logged = step


def summary_values(summary: Summary, general: GeneralScores | None = None) -> dict[str, Any]:
    """Flatten the scores for a tracker: columns, mean and median (0-1) with 95 % intervals and sd over samples, then
    the general tasks and their mean as `general/NAME`."""
    values: dict[str, Any] = {}
    of_general = {f"general/{name}": score for name, score in general_and_mean(general).items()}
    known = columns_and_statistics(summary) | of_general
    for name, column in known.items():
        values[name] = column["value"]
        if "ci95" in column:
            values[f"{name}_ci95_low"], values[f"{name}_ci95_high"] = column["ci95"]
        if "sd_over_samples" in column:
            values[f"{name}_sd_over_samples"] = column["sd_over_samples"]
        if "selected" in column:
            values[f"{name}_note"] = column["selected"]
    return values | {"columns_scored": len(summary["columns"]), "columns_missing": ", ".join(summary["missing"])}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and mtime, which change when a file is written, truncated or replaced; None if there is no file."""
    if not path.is_file():
        return None
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def closed(seconds: float) -> bool:
    """Wait at most `seconds` for standard input to close, and return whether it has."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and not os.read(sys.stdin.fileno(), 4096):
            return True
    return False
