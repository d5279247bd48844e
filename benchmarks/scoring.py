"""Measure scoring of nine tasks at their real sizes: time, intervals, memory, and the gain over scoring each resample.

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
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sciriff.config import SAMPLE
from sciriff.data.documents import document_digests
from sciriff.data.records import Prediction
from sciriff.results.statistics import RESAMPLES
from sciriff.run import machine
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue
from sciriff.tasks.discomat import DISCOMAT
from sciriff.tasks.metrics.metric import WrongShape
from sciriff.tasks.mup import MUP
from sciriff.tasks.task import Task

REPEATS = 3
NAIVE_RESAMPLES = 3
CHARACTERS_PER_TOKEN = 3.3
GOALS = {"scored": 5.0, "intervals": 3.0, "memory": 600}
"""Seconds, seconds, MB."""


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


def scored(run: RunDir) -> tuple[float, float]:
    """Seconds from process start to tables, and peak memory (MB), of the score stage."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "sciriff.score", str(run.root)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the score stage ended with status {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def prepare(folder: Path, answers: Path, resamples: int) -> RunDir:
    """Make a run folder for these answers with the command that a user would run."""
    run = RunDir(folder / f"resamples-{resamples}")
    command = ["experiment=demo", "train=none", "log=none", "stages=[score]", f"predictions={answers}"]
    command += [f"run_dir={run.root}", f"eval.resamples={resamples}"]
    subprocess.run([sys.executable, "-m", "sciriff.train", *command], check=True, capture_output=True)
    return run


def count_again(task: Task, rows: list[Prediction]) -> None:
    """Compute a column without saved counts: parse and compare every answer again."""
    assert task.metric is not None
    assert task.parse is not None
    totals: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        value = task.parse(row.prediction).value
        expected = task.parse(row.reference).value
        try:
            counts = task.metric.count(task.empty if value is None else value, expected)
        except WrongShape:
            counts = task.metric.count(task.empty, expected)
        for name, number in zip(task.metric.fields, counts, strict=True):
            totals[name] += number
    task.metric.scores(task.metric.numbers(**totals))


def bleu_again(rows: list[Prediction]) -> None:
    """Compute corpus BLEU with sacrebleu."""
    import sacrebleu

    sacrebleu.corpus_bleu([row.prediction for row in rows], [[row.reference for row in rows]], smooth_method="none")


def naive_resample(answers: list[tuple[Task, list[Prediction]]], chance: random.Random) -> float:
    """Seconds to draw one bootstrap sample of each task and score it from its texts."""
    started = time.perf_counter()
    for task, rows in answers:
        drawn = chance.choices(rows, k=len(rows))
        if task is DISCOMAT:
            bleu_again(drawn)
        elif task is not MUP:  # its column needs a judge
            count_again(task, drawn)
    return time.perf_counter() - started


def median_of(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """The medians of REPEATS measurements of two numbers."""
    found = [measure() for _ in range(REPEATS)]
    return tuple(sorted(column)[REPEATS // 2] for column in zip(*found, strict=True))  # type: ignore[return-value]


def main() -> None:
    """Print time and memory beside their goals, and the time that scoring each resample again would take."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    answers = [(task, predictions(task)) for task in HELD_OUT if task.name in catalogue()]
    rows = sum(len(found) for _, found in answers)
    characters, asked = (
        sum(len(getattr(row, what)) for _, found in answers for row in found) for what in ("prediction", "prompt")
    )
    started = time.process_time()
    for _, found in answers:
        document_digests([row.prompt for row in found])
    documents = time.process_time() - started
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, found in answers:
            write_jsonl(folder / "answers" / f"{task.name}.jsonl", found)
        without, with_intervals = (prepare(folder, folder / "answers", resamples) for resamples in (0, RESAMPLES))
        plain, _ = median_of(lambda: scored(without))
        both, memory = median_of(lambda: scored(with_intervals))
    chance = random.Random(0)
    naive = min(naive_resample(answers, chance) for _ in range(NAIVE_RESAMPLES))
    print(f"commit {commit}, {os.cpu_count()} cores, median of {REPEATS}")
    print(
        f"{rows:,} answers to {len(answers)} tasks, {characters / 1e6:.1f} M characters, prompts of {asked / 1e6:.1f} M"
    )
    print(f"scored, process start to tables     {plain:8.2f} s    goal {GOALS['scored']:.0f} s")
    print(f"  of this, documents found          {documents:8.2f} s")
    print(f"{RESAMPLES:,} resamples of all columns    {both - plain:8.2f} s    goal {GOALS['intervals']:.0f} s more")
    print(f"peak memory with them               {memory:8.0f} MB   goal {GOALS['memory']} MB")
    print(f"one resample scored from its texts  {naive:8.2f} s")
    hours = naive * RESAMPLES / 3600
    print(f"{RESAMPLES:,} of those                    {hours:8.1f} h    {naive * RESAMPLES / (both - plain):,.0f} x")


if __name__ == "__main__":
    main()
