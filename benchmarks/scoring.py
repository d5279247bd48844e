"""Measure scoring of nine tasks at their real sizes: processor time, intervals, comparison, memory.

python benchmarks/scoring.py

The 4,177 answers are generated from the bundled sample's validation rows, repeated and lengthened to each task's number
and mean length in SciRIFF; some are another row's answer, wrapped in prose, or cut short. Their prompts consist of an
order, a document and a question, in each task's mean length; every fourth has the document of an earlier one.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sciriff.config import SAMPLE
from sciriff.data.records import Prediction
from sciriff.results.statistics import RESAMPLES
from sciriff.run import machine
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue
from sciriff.tasks.task import Task

REPEATS = 3
CHARACTERS_PER_TOKEN = 3.3
GOALS = {"scored": 5.0, "intervals": 3.0, "memory": 600}
"""Processor seconds, the same, MB."""


def longer(value: Any, times: int) -> Any:
    """Make the lists in an answer `times` as long, with distinct elements."""
    if isinstance(value, dict):
        return {key: longer(inner, times) for key, inner in value.items()}
    if isinstance(value, list):
        return [changed(item, turn) for turn in range(times) for item in value]
    return value


def changed(item: Any, turn: int) -> Any:
    """The element itself in turn 0, a distinct variant in each later turn."""
    if isinstance(item, list):
        return [changed(inner, turn) for inner in item]
    return f"{item} {turn}" if turn else item


def references(task: Task) -> list[str]:
    """The sample's references of a task, lengthened to SciRIFF's mean."""
    rows = (json.loads(line) for line in (SAMPLE / "sciriff" / "validation.jsonl").read_text().splitlines())
    texts = [row["output"] for row in rows if row["_instance_id"].startswith(f"{task.name}:")]
    wanted = catalogue()[task.name].mean_output_tokens * CHARACTERS_PER_TOKEN
    times = max(1, round(wanted * len(texts) / sum(map(len, texts))))
    if task.parse is None:
        return ["\n".join([text] * times) for text in texts]
    return [json.dumps(longer(json.loads(text), times)) for text in texts]


def prompts(task: Task) -> list[str]:
    """As many prompts as the task has in SciRIFF's validation split."""
    chance, entry = random.Random(f"prompts {task.name}"), catalogue()[task.name]
    words = [f"{start}{end}" for start in ("gel", "tor", "mis", "pan") for end in ("arin", "elo", "irin", "o", "s of")]
    order = "\n".join(
        f"- Rule {number} of {task.name}: {' '.join(chance.choices(words, k=12))}." for number in range(9)
    )
    made: list[str] = []
    for number in range(entry.validation):
        document = ""
        while len(document) < entry.mean_input_tokens * CHARACTERS_PER_TOKEN - len(order):
            document += " ".join(chance.choices(words, k=20)).capitalize() + chance.choice((". ", ".\n"))
        made.append(document if number % 4 else made[number * 3 // 4] if made else document)
    return [f"{order}\n\n{document}\n\nQuestion: what of number {n}?" for n, document in enumerate(made)]


def predictions(task: Task, drawn: str = "") -> list[Prediction]:
    """As many answers as the task has in SciRIFF's validation split; others for another `drawn`."""
    texts, asked, chance = references(task), prompts(task), random.Random(task.name + drawn)
    rows = []
    for number in range(catalogue()[task.name].validation):
        reference = texts[number % len(texts)]
        kinds = {
            "right": reference,
            "of another row": chance.choice(texts),
            "in talk": f"Here is what you asked for:\n{reference}\nI hope this helps.",
            "cut short": reference[: len(reference) // 2],
        }
        answer = kinds[chance.choices(list(kinds), (5, 3, 1, 1))[0]]
        rows.append(Prediction(task.name, f"{task.name}:validation:{number}", asked[number], answer, reference))
    return rows


def finished(command: list[str]) -> tuple[float, float]:
    """Processor seconds and peak memory (MB) of a process."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command[1:3])} ended with status {child.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def scored(run: RunDir) -> tuple[float, float]:
    """Processor seconds from process start to tables, and peak memory (MB), of the score stage."""
    return finished([sys.executable, "-m", "sciriff.score", str(run.root)])


def prepare(folder: Path, model: str, resamples: int) -> RunDir:
    """Make a run folder for a model's answers with the command that a user would run."""
    run = RunDir(folder / f"{model}-{resamples}")
    command = ["experiment=demo", "train=none", "log=none", "stages=[score]", f"predictions={folder / model}"]
    command += [f"run_dir={run.root}", f"eval.resamples={resamples}"]
    subprocess.run([sys.executable, "-m", "sciriff.train", *command], check=True, capture_output=True)
    return run


def compared(runs: list[RunDir]) -> tuple[float, float]:
    """Processor seconds from process start to table, and peak memory (MB), of the comparison of two runs."""
    return finished([sys.executable, "-m", "sciriff.compare", *(str(run.root) for run in runs)])


def median_of(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """The medians of REPEATS measurements of two numbers."""
    found = [measure() for _ in range(REPEATS)]
    return tuple(sorted(column)[REPEATS // 2] for column in zip(*found, strict=True))  # type: ignore[return-value]


def main() -> None:
    """Print time and memory beside their goals."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    answers = {
        model: [(task, predictions(task, model)) for task in HELD_OUT if task.name in catalogue()]
        for model in ("one", "other")
    }
    rows = sum(len(found) for _, found in answers["one"])
    characters = sum(len(row.prediction) for _, found in answers["one"] for row in found)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, tasks in answers.items():
            for task, found in tasks:
                write_jsonl(folder / model / f"{task.name}.jsonl", found)
        without = prepare(folder, "one", 0)
        runs = [prepare(folder, model, RESAMPLES) for model in answers]
        plain, _ = median_of(lambda: scored(without))
        both, memory = median_of(lambda: scored(runs[0]))
        beside, _ = median_of(lambda: compared(runs))
    print(f"commit {commit}, {os.cpu_count()} cores, median of {REPEATS}")
    print(f"{rows:,} answers to {len(answers['one'])} tasks, {characters / 1e6:.1f} M characters")
    print(f"scored, process start to tables          {plain:8.2f} s of processor   goal {GOALS['scored']:.0f} s")
    print(f"intervals of all columns                 {both - plain:8.2f} s    goal {GOALS['intervals']:.0f} s more")
    print(f"peak memory with them                    {memory:8.0f} MB   goal {GOALS['memory']} MB")
    print(f"two runs compared, {RESAMPLES:,} signs        {beside:8.2f} s")


if __name__ == "__main__":
    main()
