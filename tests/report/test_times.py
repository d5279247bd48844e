"""Where the time went, and lengths as bars."""

import re
from pathlib import Path

from sciriff.report.bars import BINS, bar, histogram
from sciriff.report.times import stage_times, step_times
from sciriff.run.manifest import Manifest, StageRecord


def manifest(**seconds: float) -> Manifest:
    return Manifest(
        Path("manifest.json"), stages={name: StageRecord("done", {}, spent) for name, spent in seconds.items()}
    )


def test_shares_are_of_all_finished_stages() -> None:
    given = manifest(mix=25.0, train=75.0)
    given.stages["report"] = StageRecord("running", {}, 1000.0)
    assert [(time.name, time.text, time.share) for time in stage_times(given)] == [
        ("mix", "25.0 s", 0.25),
        ("train", "1 min 15 s", 0.75),
    ]
    assert stage_times(manifest()) == []


def test_what_training_spent_its_time_on() -> None:
    step = {"step": 1, "seconds": 10.0, "seconds_data": 1.0, "seconds_compute": 8.0, "seconds_optimizer": float("nan")}
    metrics = [step, {"step": 1, "validation_seconds": 5.0}, step]
    found = {time.name: (time.text, time.share) for time in step_times(manifest(train=40.0, score=10.0), metrics)}
    assert found == {
        "waiting for data": ("2.0 s", 0.04),
        "forward and backward": ("16.0 s", 0.32),
        "rest of the steps": ("2.0 s", 0.04),
        "validation": ("5.0 s", 0.1),
        "start, checkpoints and saving": ("15.0 s", 0.3),
    }
    assert [time.name for time in step_times(manifest(train=40.0), [{"step": 1, "seconds": 20.0}])] == [
        "steps",
        "start, checkpoints and saving",
    ]
    assert step_times(manifest(train=15.0), metrics) == [], "the steps of an earlier start are in the file too"
    assert step_times(manifest(score=1.0), metrics) == step_times(manifest(train=1.0), []) == []


def test_a_histogram_shows_every_text() -> None:
    figure = histogram("Prompt", [0, 1, 1, 5, 100_000])
    assert figure is not None and figure.description == "median 1, longest 100,000"
    heights = [float(h) for h in re.findall(r"v-([\d.]+)h", figure.svg)]
    assert len(heights) == 2 and min(heights) > 1 and figure.svg.count('class="bin"') <= BINS
    assert histogram("Prompt", []) is None and histogram("Prompt", [0]) is not None


def test_a_bar_stays_on_its_track() -> None:
    assert "H100.00V" in bar(7.0) and "H0.00V" in bar(-1.0) and "H25.00V" in bar(0.25)
