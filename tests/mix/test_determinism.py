"""The scitulu mix of real records: what is in it, and the same bytes whatever the machine does."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from mix_rows import fitting, names, read
from told_by_driver import told

from sciriff.config import Config, to_yaml
from sciriff.data.records import Conversation
from sciriff.data.token_file import NAME
from sciriff.mix.__main__ import main
from sciriff.mix.build import build_mix
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT

SHARED = Path(__file__).parents[3] / "shared" / "data"
SCIRIFF, TULU = SHARED / "sciriff" / "train.jsonl", SHARED / "tulu_v2_like.jsonl"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared records")

Make = Callable[..., tuple[Config, RunDir]]


@pytest.fixture
def make(tmp_path: Path, composed: Callable[..., Config]) -> Make:
    """`make("one", "mix.per_task=3")` is the config and folder of a run of mix=scitulu on the real records."""

    def make_run(name: str, *overrides: str) -> tuple[Config, RunDir]:
        run = RunDir(tmp_path / name)
        run.root.mkdir()
        places = (f"run_dir={run.root}", f"cache_dir={tmp_path / 'caches' / name}", f"name={name}")
        sources = (f"mix.sources.sciriff.path={SCIRIFF}", f"mix.sources.tulu.path={TULU}")
        config = composed("model=tiny", "mix=scitulu", "eval=sample", *sources, *places, *overrides)
        run.config.write_text(to_yaml(config))
        return config, run

    return make_run


def about_tokens(conversations: Iterable[Conversation], limit: int, truncate: str) -> list[int | None]:
    return fitting(conversations, 4 * limit, truncate)


def built(make: Make, name: str, *overrides: str) -> tuple[Path, Path]:
    """The mix and its validation rows, without a tokenizer."""
    config, run = make(name, *overrides)
    build_mix(config.mix, run.root, about_tokens)
    return run.root / "train.jsonl", run.root / "validation.jsonl"


def content(run: RunDir) -> list[bytes]:
    """All that the stage makes."""
    files = [run.mix, run.validation, run.mix_card, run.tokens / NAME, run.validation_tokens / NAME]
    return [file.read_bytes() for file in files]


def test_no_held_out_row_and_no_science_out_of_tulu(make: Make) -> None:
    rows, validation = map(read, built(make, "one", "mix.per_task=15"))
    held_out = {f"science.{task.name}" for task in HELD_OUT}
    tulu_science = {row["id"] for row in read(TULU) if row["dataset"].startswith("science")}
    assert len(tulu_science) == 40
    for part in (rows, validation):
        assert not held_out & {row["dataset"] for row in part}
        assert not tulu_science & {row["id"] for row in part}
    science = [row for row in rows if row["dataset"].startswith("science.")]
    assert Counter(row["dataset"] for row in science) == dict.fromkeys({row["dataset"] for row in science}, 15)
    assert len(science) == 14 * 15 and abs(len(rows) - 2 * len(science)) <= 1  # match
    assert not names(rows) & names(validation) and len(validation) == 500


def test_caps_are_nested(make: Make) -> None:
    mixes = [names(read(built(make, f"cap-{cap}", f"mix.per_task={cap}")[0])) for cap in (5, 15, 60)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))


def test_the_order_of_rows_and_files_plays_no_part(make: Make, tmp_path: Path) -> None:
    rows = SCIRIFF.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(rows)
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, part in enumerate((rows[2000:], rows[:700], rows[700:2000])):
        (folder / f"train-{number}.jsonl").write_text("".join(part))
    general = TULU.read_text().splitlines(keepends=True)
    (tmp_path / "tulu.jsonl").write_text("".join(general[::-1]))
    one = built(make, "one", "mix.per_task=15")
    paths = (f"mix.sources.sciriff.path={folder}", f"mix.sources.tulu.path={tmp_path / 'tulu.jsonl'}")
    two = built(make, "two", "mix.per_task=15", *paths)
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def in_a_process(make: Make, name: str, **environment: str) -> list[bytes]:
    _, run = make(name, "mix.per_task=3", "mix.validation_rows=5")
    done = subprocess.run(
        [sys.executable, "-m", "sciriff.mix", str(run.root)],
        env={**os.environ, **told(run), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return content(run)


@pytest.mark.slow
def test_threads_play_no_part(make: Make) -> None:
    one = in_a_process(make, "one", RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    four = in_a_process(make, "four", RAYON_NUM_THREADS="4", TOKENIZERS_PARALLELISM="true")
    assert one == four


@pytest.mark.slow
def test_the_hash_seed_of_python_plays_no_part(make: Make) -> None:
    assert in_a_process(make, "one", PYTHONHASHSEED="1") == in_a_process(make, "two", PYTHONHASHSEED="2")


@pytest.mark.slow
def test_the_recipe_of_the_card_builds_the_mix_again(
    make: Make, tmp_path: Path, composed: Callable[..., Config]
) -> None:
    settings = ("mix.per_task=10", "mix.sources.tulu.epochs=1.5", "mix.families=[classification,entailment]")
    config, run = make("one", *settings)
    main(config, run)
    recipe = run.mix_card_page.read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "conf" / "mix").mkdir(parents=True)
    (tmp_path / "conf" / "mix" / "again.yaml").write_text(recipe)
    again = RunDir(tmp_path / "again")
    config = composed(
        f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        "model=tiny",
        "mix=again",
        "eval=sample",
        f"run_dir={again.root}",
        f"cache_dir={tmp_path / 'caches' / 'again'}",
    )
    main(config, again)
    assert content(again) == content(run)
    assert json.loads(again.mix_card.read_text())["recipe"]["families"] == ["classification", "entailment"]
