"""Measure the contamination check on a mix the size of Tulu-V2: recall on planted leaks, false alarms, time and memory.

python benchmarks/overlap.py [general rows]

All text is generated from invented words: 4,177 prompts of the nine held-out tasks at SciRIFF's mean lengths, three per
document; 330,000 general conversations, 1.1 GB of JSON lines; 5,000 science rows that share the instructions of the
held-out tasks but no document; and planted leaks of four kinds.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import EvalConfig, MixConfig, MixSourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.build import TRAIN, build_mix
from sciriff.mix.overlap_check import overlap_check
from sciriff.mix.recipe import BATCH
from sciriff.run import machine
from sciriff.run.json_lines import Message, read_jsonl, write_jsonl
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue

ROWS = 330_000
ROW_CHARACTERS = 3_200
SCIENCE_ROWS = 5_000
LEAKS = 250
"""Planted leaks of each kind."""
EDITED = 0.08
"""Share of words replaced in a lightly edited prompt."""
WORDS_PER_TOKEN = 0.65
GOALS = {"seconds": 180, "memory": 1_000}
"""Seconds, MB."""

CONSONANTS, VOWELS = "bcdfghklmnprstvz", "aeiou"


class Writer:
    """Generator of sentences from invented words with natural frequencies, and of phrases common to many texts."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        words = random.Random("the same words for all").sample(
            [a + b + c + d + e for a in CONSONANTS for b in VOWELS for c in CONSONANTS for d in VOWELS for e in "nrst"],
            20_000,
        )
        self.words = [word[: 2 + place // 40] if place < 120 else word for place, word in enumerate(words)]
        self.weights = [1 / (place + 3) for place in range(len(words))]
        phrases = random.Random("the same phrases for all")
        self.phrases = [" ".join(phrases.choices(self.words, self.weights, k=9)) for _ in range(300)]

    def text(self, words: int) -> str:
        """Sentences with about `words` words. One in ten has a phrase that other texts have, too."""
        found = self.chance.choices(self.words, self.weights, k=words)
        place = 0
        while (place := place + self.chance.randint(12, 30)) < len(found):
            if self.chance.random() < 0.1:
                found[place : place + 9] = self.chance.choice(self.phrases).split()
            found[place - 1] += "."
            found[place] = found[place].capitalize()
        return " ".join(found).capitalize() + "."


def instructions() -> dict[str, str]:
    """Instruction of each held-out task, with a placeholder for a number that differs between prompts."""
    writer = Writer("instructions")
    return {task.name: writer.text(45) + " Give up to {number} of them. " + writer.text(25) for task in HELD_OUT}


def prompts() -> list[tuple[str, str, str, str]]:
    """(task, instance id, document, prompt) of all instances."""
    writer = Writer("documents")
    rows = []
    for task, instruction in instructions().items():
        entry = catalogue()[task]
        document = ""
        for number in range(entry.validation):
            if number % 3 == 0:
                mean = entry.mean_input_tokens * WORDS_PER_TOKEN - 90
                document = writer.text(max(20, round(mean * writer.chance.uniform(0.6, 1.4))))
            start = instruction.format(number=writer.chance.randint(2, 40))
            prompt = f"{start}\n\nText: {document}\n\nQuestion: {writer.text(9)}\n\nAnswer:"
            rows.append((task, f"{task}:validation:{number}", document, prompt))
    return rows


def conversation(dataset: str, number: int, user: str, assistant: str) -> Conversation:
    return Conversation(dataset, str(number), (Message("user", user), Message("assistant", assistant)))


def leaks(kind: str) -> Iterator[Conversation]:
    """Planted rows of one kind, each from a different prompt."""
    writer = Writer(f"leaks, {kind}")
    chance = writer.chance
    for number, (_, _, document, prompt) in enumerate(chance.sample(prompts(), LEAKS)):
        text = prompt
        if kind == "re-spaced":
            text = "".join(chance.choice((" ", "  ", "\n", "\t", " - ")) if c == " " else c for c in prompt).upper()
        elif kind == "lightly edited":
            words = (chance.choice(writer.words) if chance.random() < EDITED else word for word in prompt.split(" "))
            text = " ".join(words)
        elif kind == "same document":
            text = f"{writer.text(30)}\n\n{document}\n\n{writer.text(12)}"
            if number % 2:  # in the middle of a long row
                text = f"{writer.text(4_000)}\n{text}\n{writer.text(4_000)}"
        yield conversation(kind, number, text, writer.text(20))


KINDS = ("exact", "re-spaced", "lightly edited", "same document")


def general_rows(rows: int) -> Iterator[Conversation]:
    """Conversations of various lengths, from a stock of paragraphs."""
    writer = Writer("general")
    chance = writer.chance
    stock = [writer.text(60) for _ in range(20_000)]
    paragraphs = ROW_CHARACTERS / (sum(map(len, stock)) / len(stock))
    for number in range(rows):
        size = max(2, round(chance.lognormvariate(0, 0.8) * paragraphs * 0.73))
        parts = chance.choices(stock, k=size)
        yield conversation("general", number, parts[0], f"Row {number}. " + "\n\n".join(parts[1:]))


def science_rows() -> Iterator[Conversation]:
    """Rows with the instructions of the held-out tasks but unrelated documents."""
    writer = Writer("unrelated documents")
    texts = list(instructions().values())
    for number in range(SCIENCE_ROWS):
        start = texts[number % len(texts)].format(number=writer.chance.randint(2, 40))
        user = (
            f"{start}\n\nText: {writer.text(writer.chance.randint(30, 600))}\n\nQuestion: {writer.text(9)}\n\nAnswer:"
        )
        yield conversation("boilerplate", number, user, writer.text(20))


def write(folder: Path, rows: int) -> None:
    """Write the evaluation instances and the general source, with the planted rows spread over it."""
    instances = [{"input": prompt, "output": "[]", "_instance_id": name} for _, name, _, prompt in prompts()]
    write_jsonl(folder / "validation.jsonl", instances)
    planted = [row for kind in KINDS for row in leaks(kind)] + list(science_rows())
    random.Random(0).shuffle(planted)
    every = max(1, rows // len(planted))

    def mixed() -> Iterator[Conversation]:
        for number, row in enumerate(general_rows(rows)):
            if number % every == 0 and planted:
                yield planted.pop()
            yield row
        yield from planted

    write_jsonl(folder / "general.jsonl", mixed())


def build(folder: Path, setting: str) -> None:
    """Run the mix stage without tokenization under a setting of mix.overlap, and print the card's `overlap`."""
    source = MixSourceConfig(path=str(folder / "general.jsonl"))
    sources = {"tulu": source}
    mix = MixConfig(name="bench", per_task=0, tulu="all", context_window=None, sources=sources, overlap=setting)
    check = None if setting == "none" else overlap_check(EvalConfig(path=str(folder / "validation.jsonl")))
    out = folder / setting
    out.mkdir()
    build_mix(mix, out, lambda rows, limit, truncate: [], check.overlapping if check else None)
    if check and setting == "report":
        batch: list[Conversation] = []
        for row in read_jsonl(out / TRAIN, Conversation):
            batch.append(row)
            if len(batch) == BATCH:
                check.overlapping(batch)
                batch = []
        check.overlapping(batch)
    (out / TRAIN).unlink()
    print(json.dumps({**check.card(), "rows": list(check.rows)} if check else {}))


def measured(folder: Path, setting: str) -> tuple[dict, float, float, float]:
    """What was found, seconds, CPU seconds and peak memory (MB) of a build in a process of its own."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, "--build", setting, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    found = json.loads(child.stdout.read().splitlines()[-1])  # above it is the progress
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"mix.overlap={setting} ended with status {child.returncode}")
    return found, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print seconds and memory under each setting, and the leaks found of each kind."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    if sys.argv[1:2] == ["--build"]:
        build(Path(sys.argv[3]), sys.argv[2])
        return
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    print(f"commit {commit}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        size = (folder / "general.jsonl").stat().st_size / 1e9
        print(f"{rows:,} general rows, {size:.2f} GB with those planted")
        for setting in ("none", "report", "drop"):
            found, seconds, cpu, memory = measured(folder, setting)
            print(
                f"mix.overlap={setting:<8}{seconds:7.1f} s   goal {GOALS['seconds']} s   {cpu:6.1f} s of CPU   "
                f"{memory:6.0f} MB   goal {GOALS['memory']:,} MB"
            )
            if found:
                counts = Counter(row.partition("/")[0] for row in found["rows"])
                for kind in KINDS:
                    print(f"    {kind:<16}{counts[kind]:>5,} of {LEAKS} found")
                print(f"    {'boilerplate':<16}{counts['boilerplate']:>5,} of {SCIENCE_ROWS:,} are false alarms")
                print(f"    {'general':<16}{counts['general']:>5,} of {rows:,} are false alarms")


if __name__ == "__main__":
    main()
