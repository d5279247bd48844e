"""The same bytes whatever the hash seed, the workers, the order of folders and how often a build was killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recreate_runs import build_rows, bytes_of, rows_of, template_text, write_task

from sciriff.recreate.build import TASKS
from sciriff.recreate.task_build import DONE
from sciriff.recreate.worker import AT, place_of
from sciriff.run.user_error import UserError
from sciriff.stage import USER_ERROR

TOKENIZER = Path(__file__).parents[2] / "sciriff/sample/tokenizer"
WORDS = "tail fin gill heart scale spine liver brain".split()
ENTITIES = "{{ abstract }} Types: {{ ner_type_list | join(', ') }}\n|||\n{{ ner_dict | tojson }}"
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}a|||b"
SHUFFLED_FOLDERS = """
import os, random

listed, scanned = os.listdir, os.scandir

def shuffled(names):
    random.Random(os.environ["FOLDER_ORDER"]).shuffle(names)
    return names

class Scanned:
    def __init__(self, *place):
        with scanned(*place) as entries:
            self.entries = iter(shuffled(sorted(entries, key=lambda entry: os.fspath(entry.name))))
    def __iter__(self):
        return self.entries
    def __next__(self):
        return next(self.entries)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
    def close(self):
        pass

os.listdir = lambda *place: shuffled(sorted(listed(*place)))
os.scandir = Scanned
"""
"""A sitecustomize.py that gives folders another order, as other disks do."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with template files, their data, and a corpus of 60 files."""
    place = tmp_path_factory.mktemp("inputs")
    templates = write_task(place / "templates", "kinds", 60, templates=["{{ text }}|||{{ label }}", "A {{ text }}|||b"])
    rows = [{"text": f"{word} {number}", "label": word} for number in range(12) for word in WORDS]
    (templates / "table.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), templates / "columns.parquet")
    for name, data in (("table", "table.csv"), ("columns", "columns.parquet")):
        (templates / f"{name}.yaml").write_text(template_text(name, data=data))
    types = ",".join(f"{word}:{word}" for word in WORDS)
    formatter = f"formatter: {{name: bigbio_ner, args: {{types_map: '{types}'}}}}\n"
    anatomy = template_text("anatomy", templates=[ENTITIES, "Find. " + ENTITIES], more=formatter)
    (templates / "anatomy.yaml").write_text(anatomy.replace("data: data.jsonl", "dataset: bigbio/anat_em"))
    for split in ("train", "devel", "test"):
        folder = place / "raw/anat_em/standoff" / split
        folder.mkdir(parents=True)
        for number in range(20):
            chosen = random.Random(f"{split}{number}").sample(WORDS, 5)
            marks = []
            for word in chosen:
                start = sum(len(before) + 1 for before in chosen[: len(marks)])
                marks.append(f"T{len(marks)}\t{word} {start} {start + len(word)}\t{word}\n")
            (folder / f"PMID-{number}.txt").write_text(" ".join(chosen))
            (folder / f"PMID-{number}.ann").write_text("".join(marks))
    (place / "sitecustomize.py").write_text(SHUFFLED_FOLDERS)
    return place


def command(inputs: Path, out: Path, **settings: object) -> list[str]:
    settings = {
        "templates": inputs / "templates",
        "raw": inputs / "raw",
        "out": out,
        "tokenizer": TOKENIZER,
        "context_window": 60,
        "cap": 50,
        "template": "all",
        "split": "document",
        "workers": 2,
    } | settings
    return [sys.executable, "-m", "sciriff.recreate", *(f"recreate.{key}={value}" for key, value in settings.items())]


@contextmanager
def started(arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def workers_of(out: Path) -> dict[str, int]:
    """Task -> process id of the workers that are alive."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if "sciriff.recreate.worker" in arguments:
            folder = next(Path(one) for one in arguments if TASKS in one or one == arguments[-1])
            if folder.is_relative_to(out):
                found[folder.name] = int(path.parent.name)
    return found


def wait_until(holds, seconds: float = 60) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture(scope="module")
def first(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The bytes of a build, and the seconds that it took."""
    out = tmp_path_factory.mktemp("first") / "out"
    begun = time.monotonic()
    subprocess.run(command(inputs, out), check=True, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True)
    took = time.monotonic() - begun
    card = json.loads((out / "card.json").read_text())
    rows = [row for split in rows_of(out).values() for row in split]
    assert set(card["tasks"]) == {"anatomy", "columns", "kinds", "table"} and len(rows) > 150
    assert any(task["left_out"] for task in card["tasks"].values())
    return bytes_of(out), took


@pytest.mark.parametrize(("hash_seed", "workers", "order"), [("1", 1, "1"), ("987654", 4, "2")])
def test_the_same_bytes_everywhere(
    inputs: Path, first: tuple[dict[str, bytes], float], tmp_path: Path, hash_seed: str, workers: int, order: str
):
    path = os.pathsep.join([str(inputs), os.environ.get("PYTHONPATH", "")])
    changed = {"PYTHONHASHSEED": hash_seed, "FOLDER_ORDER": order, "PYTHONPATH": path}
    listing = [
        sys.executable,
        "-c",
        "import os, sys; print(*os.listdir(sys.argv[1]))",
        inputs / "raw/anat_em/standoff/train",
    ]
    listed = subprocess.run(listing, env={**os.environ, **changed}, check=True, capture_output=True, text=True)
    assert listed.stdout.split() != sorted(listed.stdout.split())
    arguments = command(inputs, tmp_path / "out", workers=workers)
    subprocess.run(arguments, check=True, env={**os.environ, **changed}, capture_output=True)
    assert bytes_of(tmp_path / "out") == first[0]


@pytest.mark.slow
def test_the_same_bytes_after_five_kills(inputs: Path, first: tuple[dict[str, bytes], float], tmp_path: Path):
    draw, unfinished = random.Random(5), 0
    for _ in range(5):
        with started(command(inputs, tmp_path / "out")) as process:
            time.sleep(draw.uniform(0.2, 0.9) * first[1])
            unfinished += process.poll() is None
            process.send_signal(signal.SIGKILL)
        wait_until(lambda: not workers_of(tmp_path / "out"))
    assert unfinished
    subprocess.run(command(inputs, tmp_path / "out"), check=True, capture_output=True)
    assert bytes_of(tmp_path / "out") == first[0]


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_a_second_command_is_refused_meanwhile(tmp_path: Path):
    out = tmp_path / "out"
    write_task(tmp_path / "t", "done")
    write_task(tmp_path / "t", "loops", templates=[LOOPS])
    arguments = command(tmp_path, out, templates=tmp_path / "t", raw="null", context_window="null", tokenizer="null")
    with started(arguments) as process:
        wait_until(lambda: (out / TASKS / "done" / DONE).is_file() and "loops" in workers_of(out))
        second = subprocess.run(arguments, capture_output=True, text=True)
        assert second.returncode == USER_ERROR and "is being built by another command" in second.stderr
        assert second.stderr.count("\n") == 1 and process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "done: 6 train" in said and "The same command goes on from there" in said and "Traceback" not in said
    assert not workers_of(out)

    write_task(tmp_path / "t", "loops")
    again = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "done: up to date" in again.stderr and "loops: 6 train" in again.stderr
    assert build_rows(tmp_path / "t", tmp_path / "fresh", template="all", split="document", cap=50) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


def test_a_worker_that_the_kernel_kills_fails_its_task_alone(tmp_path: Path):
    """As when memory runs out; tasks that come later are built."""
    out = tmp_path / "out"
    write_task(tmp_path / "t", "a_loop", templates=["{{ text }}|||{{ label }}", LOOPS])
    for name in ("b_later", "c_later"):
        write_task(tmp_path / "t", name)
    arguments = command(tmp_path, out, templates=tmp_path / "t", raw="null", context_window="null", tokenizer="null")
    with started([*arguments, "recreate.workers=1"]) as process:
        wait_until(lambda: place_of(out / TASKS / "a_loop" / AT)[1] == "train row 0")
        os.kill(workers_of(out)["a_loop"], signal.SIGKILL)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("error: a_loop: ")]
    assert "a_loop.yaml: the worker ended at train row 0 (killed by SIGKILL)" in line and "short of memory" in line
    assert "b_later: 6 train" in said and "c_later: 6 train" in said
    assert {row["_instance_id"].split(":")[0] for row in rows_of(out)["train"]} == {"b_later", "c_later"}


@pytest.mark.slow
def test_a_worker_that_does_nothing_fails_its_task_too(tmp_path: Path):
    out = tmp_path / "out"
    write_task(tmp_path / "t", "a_loop", templates=[LOOPS])
    write_task(tmp_path / "t", "b_later")
    arguments = command(tmp_path, out, templates=tmp_path / "t", raw="null", context_window="null", tokenizer="null")
    with started([*arguments, "recreate.row_seconds=2"]) as process:
        wait_until(lambda: place_of(out / TASKS / "a_loop" / AT)[1] == "train row 0")
        os.kill(workers_of(out)["a_loop"], signal.SIGSTOP)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and not workers_of(out)
    assert "a_loop.yaml: train row 0 takes more than recreate.row_seconds=2" in said and "b_later: 6 train" in said


@pytest.mark.slow
def test_only_what_has_changed_is_built_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    templates, out = tmp_path / "t", tmp_path / "out"
    for name in ("one", "two", "three"):
        write_task(templates, name)

    def build() -> list[str]:
        assert build_rows(templates, out) == 0
        return sorted(
            line.removesuffix(": up to date") for line in capsys.readouterr().err.splitlines() if "up to" in line
        )

    assert build() == []
    assert build() == ["one", "three", "two"]
    (templates / "two.yaml").write_text((templates / "two.yaml").read_text().replace("Which", "What"))
    assert build() == ["one", "three"]
    (templates / "three.jsonl").write_text((templates / "three.jsonl").read_text().replace("Text 3", "Text iii"))
    assert build() == ["one", "two"]
    rows = [row["input"] for split in rows_of(out).values() for row in split]
    assert "What kind? Text 3 of two." in rows and "Which kind? Text iii of three." in rows
    assert build_rows(templates, out, seed=3) == 0 and "up to date" not in capsys.readouterr().err

    assert build_rows(templates, tmp_path / "fresh", seed=3) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


@pytest.mark.slow
def test_what_an_earlier_build_made_is_kept_while_its_files_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    templates, out = tmp_path / "t", tmp_path / "out"
    for name in ("one", "two", "three"):
        write_task(templates, name)
        assert build_rows(templates, out, add=True, tasks=[name]) == 0
    assert build_rows(templates, tmp_path / "fresh") == 0
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")

    (templates / "one.yaml").write_text("name: one")
    (templates / "two.jsonl").write_text((templates / "two.jsonl").read_text().replace("Text 3", "Text iii"))
    capsys.readouterr()
    assert build_rows(templates, out, add=True, tasks=["three"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("one: an earlier build made it, and it is left out: ") for line in said) == 1
    assert sum(line.startswith("two: an earlier build made it of other files") for line in said) == 1
    assert set(json.loads((out / "card.json").read_text())["tasks"]) == {"three"}


def test_a_folder_with_other_files_is_refused(tmp_path: Path):
    write_task(tmp_path / "t")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"recreate\.out=.*out has other files"):
        build_rows(tmp_path / "t", tmp_path / "out")
    assert (tmp_path / "out/train.jsonl").read_text() == "mine" and len([*(tmp_path / "out").iterdir()]) == 1
