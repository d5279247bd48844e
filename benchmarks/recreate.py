"""Measure how fast rows are recreated, beside bare rendering, tokenization and JSON, and the memory of a worker.

python benchmarks/recreate.py [--rows 20000] [--tokenizer FOLDER ...] [--memory-rows 100000]
python benchmarks/recreate.py --rows 0 --memory-rows 0 --raw RAW [--templates FOLDER]

One task is generated: passages of invented words (270 on average) with some twenty names in three kinds, of which a
template like those of entity tasks makes an instruction and a JSON object. The command builds it with one worker, from
the file of records to the sorted rows and their card. In turns with it a process of its own renders the same records,
which it holds already, with the same compiled templates, counts tokens by the tokenizer's batch call, and formats the
rows as JSON, which it throws away. Both use all cores for the tokenizer.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.config import RecreateConfig
from sciriff.recreate.build import build
from sciriff.recreate.rendering import sandbox
from sciriff.recreate.template_file import read_template_file
from sciriff.recreate.tokens import FAST
from sciriff.run import machine
from sciriff.run.json_lines import write_jsonl

GOALS = {"ratio": 0.7, "memory": 1000}
"""Of the bare calls, MB."""
BUNDLED = Path(__file__).parents[1] / "sciriff" / "sample" / "tokenizer"
TURNS = 3
BARE_BATCH = 512
"""Texts per bare call; more are no faster."""
WINDOW = 4096
TASK = "passages_ner"
TEMPLATE = """name: passages_ner
data: passages_ner.jsonl
metadata:
  task: ie.named_entity_recognition
  domains: [biomedicine]
  source_type: single_source
  input_context: paragraph
  output_context: json
templates:
  0:
    jinja: |
      List what the passage below names, as one JSON object. It has the keys {{ entities | list | join(", ") }}, each
      with a list of the names as the passage spells them; a kind of which nothing is named has an empty list.

      The object looks like this, with as many names as there are:
      { {% for kind in entities %}"{{ kind }}": ["name", "other name"]{% if not loop.last %}, {% endif %}{% endfor %} }

      Title: {{ title }}

      {% for sentence in sentences %}{{ sentence }}
      {% endfor %}
      |||
      {{ entities | tojson }}
"""


def records(rows: int) -> Iterator[dict[str, Any]]:
    """Records of the generated task; a few are longer than the context window."""
    from mix import Writer  # here, as a worker's peak is at least that of the process it begins as a copy of

    writer, chance = Writer(0), random.Random(0)
    for number in range(rows):
        words = chance.lognormvariate(5.4, 0.55)
        sentences = [writer.text(chance.randint(12, 34)) + "." for _ in range(max(1, round(words / 23)))]
        kinds = {kind: [writer.text(chance.randint(1, 3)) for _ in range(chance.randint(0, 12))] for kind in "ABC"}
        if number % 500 == 7:
            sentences *= 20
        yield {
            "_id": f"{90_000_000 + number * 7}",
            "title": writer.text(12),
            "abstract": " ".join(sentences),
            "sentences": sentences,
            "entities": {f"Kind{kind}": names for kind, names in kinds.items()},
        }


def build_task(folder: Path, tokenizer: str, cap: int | None) -> None:
    """Build the task without what earlier builds left, and print the peak memory (MB) of the worker."""
    out = str(folder / "out")
    subprocess.run(["rm", "-rf", out], check=True)
    made = {"templates": str(folder), "out": out, "tokenizer": tokenizer, "context_window": WINDOW, "cap": cap}
    if build(RecreateConfig(workers=1, **made), add=False):
        raise SystemExit("the build failed")
    print(json.dumps({"memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}))


def bare(folder: Path, tokenizer: str) -> None:
    """Print the seconds that rendering, counting and formatting of the records take, and how many tokens they have."""
    from tokenizers import Tokenizer

    template = sandbox().from_string(read_template_file(folder / f"{TASK}.yaml").templates[0].jinja)
    encode = Tokenizer.from_file(str(Path(tokenizer) / FAST)).encode_batch_fast
    held = [json.loads(line) for line in (folder / f"{TASK}.jsonl").read_text(encoding="utf-8").splitlines()]
    started, cpu_before, tokens = time.perf_counter(), time.process_time(), 0
    for begin in range(0, len(held), BARE_BATCH // 2):
        batch = held[begin : begin + BARE_BATCH // 2]
        texts = [part.strip() for record in batch for part in template.render(record).split("|||")]
        for one in encode(texts, add_special_tokens=False):
            tokens += len(one)
        for number, record in enumerate(batch):
            json.dumps({"input": texts[2 * number], "output": texts[2 * number + 1], "_instance_id": record["_id"]})
    found = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu_before, "tokens": tokens}
    print(json.dumps(found))


def child(*arguments: object) -> dict[str, float]:
    """Run this file in a process of its own; returns what it printed last, with its seconds and those of the CPU."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds, "cpu": cpu} | found


def compare(folder: Path, rows: int, tokenizer: str) -> None:
    """Print rows a second of the build and of the bare calls, in turns, and the median of their ratios."""
    builds: list[dict[str, float]] = []
    bares: list[dict[str, float]] = []
    for turn in range(TURNS):
        for what in ("build", "bare") if turn % 2 else ("bare", "build"):
            if what == "build":
                builds.append(child("--build", folder, tokenizer, 0))
            else:
                bares.append(child("--bare", folder, tokenizer))
    print(f"{rows:,} rows, {bares[0]['tokens'] / rows:,.0f} tokens each, tokenizer {tokenizer}")
    for name, found in (("bare calls", bares), ("the command", builds)):
        seconds, cpu = (statistics.median(one[key] for one in found) for key in ("seconds", "cpu"))
        print(f"{name:<14}{rows / seconds:8,.0f} rows/s  {seconds:7.2f} s  {cpu:7.2f} s of CPU   median of {TURNS}")
    for key, what in (("seconds", "time"), ("cpu", "CPU")):
        ratio = statistics.median(one[key] / other[key] for one, other in zip(bares, builds, strict=True))
        print(f"{'ratio, ' + what:<14}{ratio:8.2f}  goal {GOALS['ratio']}", flush=True)


def measure_memory(folder: Path, rows: int, tokenizer: str) -> None:
    """Print time and peak memory of the worker, without a cap and with SciRIFF's."""
    for cap in (0, 2500):
        found = child("--build", folder, tokenizer, cap)
        print(
            f"{rows:,} rows, cap {cap or 'null':<6}{found['memory']:8,.0f} MB     goal {GOALS['memory']:,} MB   "
            f"{found['seconds']:6.1f} s   {found['cpu']:6.1f} s of CPU",
            flush=True,
        )


def measure_tasks(raw: str, templates: str, tokenizer: str) -> None:
    """Print the time of a build of all tasks of which the data is at hand."""
    with tempfile.TemporaryDirectory() as name:
        out = str(Path(name) / "out")
        started = time.perf_counter()
        made = {"templates": templates, "raw": raw, "out": out, "tokenizer": tokenizer, "context_window": WINDOW}
        status = build(RecreateConfig(**made), add=False)
        seconds = time.perf_counter() - started
        card = json.loads((Path(out) / "card.json").read_text())
    print(
        f"all {len(card['tasks'])} tasks at hand, {sum(card['rows'].values()):,} rows: {seconds:.1f} s with "
        f"{os.cpu_count()} workers (exit status {status})"
    )


def main() -> None:
    """Print speeds and memory beside their goals."""
    if sys.argv[1:2] == ["--build"]:
        build_task(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]) or None)
        return
    if sys.argv[1:2] == ["--bare"]:
        bare(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000, help="records of the generated task")
    parser.add_argument("--memory-rows", type=int, default=100_000, help="records by which memory is measured; 0: not")
    parser.add_argument("--tokenizer", nargs="*", default=[], help="folders with a tokenizer.json to compare with, too")
    parser.add_argument("--raw", help="folder with raw corpora, of which all tasks at hand are built")
    parser.add_argument("--templates", help="folder with their template files")
    arguments = parser.parse_args()
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    print(f"commit {commit}, {platform.machine()}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / f"{TASK}.yaml").write_text(TEMPLATE)
        if arguments.rows:
            write_jsonl(folder / f"{TASK}.jsonl", records(arguments.rows))
            for tokenizer in (str(BUNDLED), *arguments.tokenizer):
                compare(folder, arguments.rows, tokenizer)
        if arguments.memory_rows:
            write_jsonl(folder / f"{TASK}.jsonl", records(arguments.memory_rows))
            measure_memory(folder, arguments.memory_rows, str(BUNDLED))
    if arguments.raw:
        measure_tasks(arguments.raw, arguments.templates, str(BUNDLED))


if __name__ == "__main__":
    main()
