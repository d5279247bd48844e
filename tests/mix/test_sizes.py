"""The sizes of the published mixes, from a source with all 54 tasks of SciRIFF at their real sizes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mix_rows import fitting, general, names, read, science, write

from sciriff.config import MixConfig, MixSourceConfig
from sciriff.mix.build import build_mix
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue

PUBLISHED = {100: 4_144, 200: 8_193, 500: 19_695, 1000: 35_357, 2500: 61_349}
"""Science rows by the cap."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sizes")
    science_rows = [science(entry.name, i) for entry in catalogue().values() for i in range(entry.train)]
    assert len(science_rows) == 70_521
    path = write(folder / "train.jsonl", science_rows)
    general_path = write(folder / "tulu.jsonl", [general("flan", i) for i in range(65_000)])
    return {"sciriff": MixSourceConfig(path=str(path)), "tulu": MixSourceConfig(path=str(general_path))}


def built(folder: Path, sources: dict[str, Any], **settings: object) -> list[dict]:
    mix = MixConfig(name="test", sources=sources, context_window=None, **settings)  # type: ignore[arg-type]
    build_mix(mix, folder, fitting)
    return read(folder / "train.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("take", ["sample", "first"])
def test_the_caps_give_the_published_sizes(tmp_path: Path, sources: dict[str, Any], take: str) -> None:
    held_out = {task.name for task in HELD_OUT}
    tasks = {entry.name: entry.train for entry in catalogue().values() if entry.name not in held_out}
    smaller: set[str] = set()
    for cap, rows in PUBLISHED.items():
        mix = built(tmp_path, sources, per_task=cap, take=take)
        counts = Counter(row["dataset"].removeprefix("science.") for row in mix)
        assert counts.pop("flan") == rows == sum(counts.values())
        assert counts == {task: min(cap, train) for task, train in tasks.items()}
        assert smaller < names(mix)  # both halves are nested
        smaller = names(mix)


@pytest.mark.parametrize("cap", [100, None])
def test_the_smallest_and_the_largest(tmp_path: Path, sources: dict[str, Any], cap: int | None) -> None:
    assert len(built(tmp_path, sources, per_task=cap, tulu="none")) == PUBLISHED[cap or 2500]
