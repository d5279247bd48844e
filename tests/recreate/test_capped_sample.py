"""The cap draws the same records whatever their order and the size of batches."""

import random
import statistics
from pathlib import Path

import pytest
from recreate_runs import template_text, write_task
from task_builds import build_one, write_splits
from tokenizers import Tokenizer

from sciriff.recreate import task_build
from sciriff.recreate.task_build import RESERVE

SAMPLE = Path(__file__).parents[2] / "sciriff" / "sample" / "tokenizer"


def records(count: int, seed: int = 5) -> list[dict]:
    chance = random.Random(seed)
    return [
        {"_id": f"r{number}", "text": " ".join(["word", "mole", "sea"][: chance.randint(1, 3)] * 6), "label": number}
        for number in range(count)
    ]


def window(rows: list[dict]) -> int:
    """A window that half of the rows fit."""
    tokenizer = Tokenizer.from_file(str(SAMPLE / "tokenizer.json"))
    texts = [f"Which kind? {row['text']}" for row in rows]
    return 2 + RESERVE + statistics.median_low(len(tokenizer.encode(text).ids) for text in texts)


@pytest.mark.parametrize("batch", [1, 6, 10_000])
def test_the_cap_draws_the_same_whatever_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int):
    rows = records(120)
    settings = {"tokenizer": str(SAMPLE), "context_window": window(rows), "cap": 25}
    first = build_one(write_task(tmp_path, records=rows), **settings)
    assert first.result.read == {"train": 120}
    assert len(first.ids()) == 25
    (left,) = first.result.left_out.values()
    assert 5 < left["rows"] < 50, "those too long that the draw came across before it had 25, and no others"
    monkeypatch.setattr(task_build, "BATCH_TEXTS", batch)
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert build_one(write_task(tmp_path, records=shuffled), **settings).bytes() == first.bytes()
    assert build_one(write_task(tmp_path, records=rows), **settings, seed=77).ids() != first.ids()


def test_more_rows_of_the_cap_are_a_superset(tmp_path: Path):
    """A draw is a function of the record alone, so a smaller cap or fewer records take no others."""
    folder = write_task(tmp_path, records=records(80), more="standardize_splits: false\n")
    small, large = (set(build_one(folder, cap=cap).ids()) for cap in (10, 30))
    assert small < large
    write_task(tmp_path, records=[row for row in records(80) if row["label"] % 4], more="standardize_splits: false\n")
    fewer = set(build_one(tmp_path, cap=30).ids())
    assert {name for name in large if int(name.rpartition("r")[2]) % 4} <= fewer


def test_the_cap_is_of_each_source_split_and_comes_before_the_cut(tmp_path: Path):
    rows = {split: [{"text": f"{split} {n}", "label": "a"} for n in range(40)] for split in ("train", "test")}
    folder = write_splits(
        tmp_path, "kinds", rows, template_text("kinds", data="x").replace("data: x", "data_dir: kinds")
    )
    built = build_one(folder, cap=20)
    assert {split: len(found) for split, found in built.rows.items()} == {"train": 16, "validation": 4, "test": 20}
    assert all(name.startswith("kinds:test:") for name in built.ids("test"))
    assert all(name.startswith("kinds:train:") for name in built.ids("validation"))


def test_skipped_splits_count_as_missing_and_a_file_can_keep_the_splits_of_the_source(tmp_path: Path):
    rows = {
        split: [{"text": f"{split} {n}", "label": "a"} for n in range(count)]
        for split, count in (("train", 30), ("validation", 5), ("test", 7))
    }
    text = template_text("kinds", data="x", more="{more}").replace("data: x", "data_dir: kinds")

    def counts(more: str, **settings) -> dict[str, int]:
        folder = write_splits(tmp_path, "kinds", rows, text.replace("{more}", more))
        return {split: len(found) for split, found in build_one(folder, **settings).rows.items()}

    assert counts("") == {"train": 30, "validation": 5, "test": 7}
    assert counts("skip_splits: [test]\n") == {"train": 25, "validation": 5, "test": 5}
    assert counts("skip_splits: [validation, test]\n") == {"train": 18, "validation": 6, "test": 6}
    kept = {"train": 30, "validation": 5, "test": 0}
    assert counts("skip_splits: [test]\nstandardize_splits: false\n") == kept
    assert counts("skip_splits: [test]\n", split="source") == kept
    assert counts("skip_splits: [train]\n", split="source") == {"train": 0, "validation": 5, "test": 7}
