"""Measure the pages of answers in headless Chromium: size, time to first paint, time of a search.

python benchmarks/report.py [PAGE]
python benchmarks/report.py --many [PAGE]

The first is report.html of a whole evaluation. Its 4,177 predictions are those of benchmarks/scoring.py, with prompts
of each task's mean length in SciRIFF. Their words are random, so they compress somewhat worse than papers (Qasper's
prompts: to 0.29). The second is the page of `compare --html` for four runs with six samples of answers to the same
4,177 prompts, 100,248 in all: every prompt has a paper of its own of 2,000 to 6,000 tokens (three share one of
Qasper's), and in every answer a fifth of the words are drawn anew. The page is kept as PAGE.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import scoring

from sciriff.data.records import Prediction
from sciriff.run import machine
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue
from sciriff.tasks.task import Task

CHARACTERS_PER_TOKEN = 4.3
VOCABULARY = 6_000
"""Distinct words of all papers; the frequency of the k-th is proportional to 1/k."""
PHRASE, PHRASES_AGAIN = 3, 0.4
"""Words per phrase and share of repeated phrases in a paragraph, so that the page compresses nearly like papers."""
QUESTIONS_A_PAPER = {"qasper_abstractive_qa": 3}
"""Consecutive prompts about the same paper; 1 for other tasks."""
LETTERS = "etaoinsrhldcumfpgwybvkxjqz"
GOALS = {"size": 8.0, "paint": 0.5, "search": 0.3}
"""MB, seconds, seconds."""
RUNS, SAMPLES = 4, 6
TOKENS = (2000, 6000)
"""Range of the lengths of papers in the page of many answers."""
DRAWN_ANEW = 0.2
"""Share of the words of an answer."""
MANY_GOALS = {"size": 60.0, "usable": 2.0, "made": 120.0}
"""MB, seconds, seconds of CPU."""


def words() -> list[str]:
    """Made-up words, the frequent ones short."""
    chance = random.Random(0)
    return ["".join(chance.choices(LETTERS, range(26, 0, -1), k=2 + round(rank**0.25))) for rank in range(VOCABULARY)]


def papers(vocabulary: list[str], task: Task, tokens: tuple[int, int] | None = None) -> list[str]:
    """Documents, one per paper of the task, each of a number of tokens in this range or of the task's mean length."""
    chance = random.Random(task.name)
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))
    count = -(-catalogue()[task.name].validation // QUESTIONS_A_PAPER.get(task.name, 1))
    mean = catalogue()[task.name].mean_input_tokens
    made = []
    for _ in range(count):
        length = (chance.uniform(*tokens) if tokens else mean) * CHARACTERS_PER_TOKEN
        size, paragraphs = 0.0, []
        while size < length:
            paragraph = text(chance, vocabulary, weights, chance.randint(40, 120))
            paragraphs.append(paragraph)
            size += len(paragraph)
        made.append("\n".join(paragraphs))
    return made


def text(chance: random.Random, vocabulary: list[str], weights: list[float], length: int) -> str:
    """Random words, with some earlier phrases repeated."""
    drawn = chance.choices(vocabulary, cum_weights=weights, k=length)
    for place in range(PHRASE, length - PHRASE, PHRASE):
        if chance.random() < PHRASES_AGAIN:
            before = chance.randrange(place)
            drawn[place : place + PHRASE] = drawn[before : before + PHRASE]
    return " ".join(drawn) + "."


def predictions(task: Task, every: list[str], drawn: str = "") -> list[Prediction]:
    """Predictions of the scoring benchmark, with prompts of an instruction, a paper and a question."""
    found = []
    for number, row in enumerate(scoring.predictions(task, drawn)):
        paper = every[number // QUESTIONS_A_PAPER.get(task.name, 1)]
        prompt = f"Read the text and answer as the task {task.name} asks, in JSON.\n\n{paper}\n\nQuestion {number}?"
        found.append(
            replace(row, prompt=prompt, finish_reason="stop", prompt_tokens=len(prompt) // 4, output_tokens=50)
        )
    return found


def timed_page(page: Path, rare: str) -> dict[str, float]:
    """Seconds to first paint, until the list of predictions is usable, and of first and later searches."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser_path is None:
        sys.exit("no chromium or google-chrome was found")
    search = """([text, prompts]) => new Promise((done) => {
        const input = document.getElementById("filter-text"), found = document.getElementById("found");
        document.getElementById("filter-prompts").checked = prompts;
        input.value = text;
        const start = performance.now();
        const watch = new MutationObserver(() => {
          if (!/^[0-9,]+ of /.test(found.textContent)) return;
          watch.disconnect();
          requestAnimationFrame(() => setTimeout(() => done((performance.now() - start) / 1000)));
        });
        watch.observe(found, {childList: true, characterData: true, subtree: true});
        input.dispatchEvent(new Event("input", {bubbles: true}));
      })"""
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto("about:blank")
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_selector("#rows a")
        usable = time.perf_counter() - started
        tab.wait_for_selector("#prediction .sides")
        timings = {"paint": tab.evaluate(paint), "usable": usable}
        for name, text, prompts in (
            ("search, the first", "pooling", False),
            ("search, later", "placebo", False),
            ("search in prompts, the first", rare, True),
            ("search in prompts, later", rare[::-1], True),
        ):
            timings[name] = tab.evaluate(search, [text, prompts])
        browser.close()
    return timings


def many(folder: Path, vocabulary: list[str], every: dict[str, list[str]], run: int) -> Path:
    """A scored run folder with SAMPLES answers to each prompt."""
    place = RunDir(folder / f"run-{run}")
    chance = random.Random(run)
    for task in HELD_OUT:
        rows = [
            replace(row, sample=sample, prediction=other_words(row.prediction, vocabulary, chance))
            for sample in range(1, SAMPLES + 1)
            for row in predictions(task, every[task.name], f"{run}-{sample}")
        ]
        write_jsonl(place.predictions / f"{task.name}.jsonl", rows)
    command = ["experiment=demo", "train=none", "log=none", "stages=[score]", "eval.resamples=100"]
    command += [f"run_dir={place.root}", f"name=run-{run}", f"eval.samples={SAMPLES}", "engine.temperature=0.7"]
    subprocess.run([sys.executable, "-m", "sciriff.train", *command], check=True, capture_output=True)
    return place.root


def other_words(text: str, vocabulary: list[str], chance: random.Random) -> str:
    """The text with some of its words drawn anew; the keys of JSON stay."""

    def drawn(word: re.Match[str]) -> str:
        return chance.choice(vocabulary) if chance.random() < DRAWN_ANEW else word[0]

    return re.sub(r"[A-Za-z]{3,}(?!\w*\":)", drawn, text)


def measure_many(kept: Path | None) -> None:
    """Print size and timings of the page of 100,248 answers."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    vocabulary = words()
    with tempfile.TemporaryDirectory() as name:
        every = {task.name: papers(vocabulary, task, TOKENS) for task in HELD_OUT}
        folders = [many(Path(name), vocabulary, every, run) for run in range(1, RUNS + 1)]
        texts = sum(path.stat().st_size for folder in folders for path in folder.glob("predictions/*.jsonl"))
        page = Path(name) / "many.html"
        command = [sys.executable, "-m", "sciriff.compare", *map(str, folders), "--each", "--resamples", "100"]
        child = subprocess.Popen([*command, "--html", str(page)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"sciriff.compare ended with status {child.returncode}")
        if kept:
            shutil.copy(page, kept)
        size = page.stat().st_size
        timings = timed_page(page, vocabulary[-1])
    made = usage.ru_utime + usage.ru_stime
    print(f"commit {commit}, {os.cpu_count()} cores")
    print(f"{RUNS} runs, {texts / 1e6:.0f} MB of predictions as JSON lines; memory {usage.ru_maxrss / 1e6:.2f} GB")
    print(f"made, in seconds of CPU         {made:8.1f} s    goal {MANY_GOALS['made']:.0f} s")
    print(f"size of the page                {size / 1e6:8.2f} MB   goal {MANY_GOALS['size']:.0f} MB")
    for what, seconds in timings.items():
        goal = f"    goal {MANY_GOALS[what]} s" if what in MANY_GOALS else ""
        print(f"{what:<31} {seconds:8.2f} s{goal}")


def main() -> None:
    """Print the page's size and timings beside their goals."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    vocabulary = words()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {task.name: predictions(task, papers(vocabulary, task)) for task in HELD_OUT}
        for task, found in rows.items():
            write_jsonl(folder / "answers" / f"{task}.jsonl", found)
        run: RunDir = scoring.prepare(folder, folder / "answers", 1000)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sciriff.report", str(run.root)], check=True, stdout=subprocess.DEVNULL)
        made = time.perf_counter() - started
        if len(sys.argv) > 1:
            shutil.copy(run.report, sys.argv[1])
        size = run.report.stat().st_size
        timings = timed_page(run.report, vocabulary[-1])
    texts = sum(len(json.dumps(vars(row), ensure_ascii=False)) for found in rows.values() for row in found)
    print(f"commit {commit}, {os.cpu_count()} cores")
    print(
        f"{sum(map(len, rows.values())):,} predictions, {texts / 1e6:.1f} MB as JSON lines; page made in {made:.1f} s"
    )
    print(f"size of the page                {size / 1e6:8.2f} MB   goal {GOALS['size']:.0f} MB")
    print(f"first contentful paint          {timings.pop('paint'):8.2f} s    goal {GOALS['paint']} s")
    print(f"list of predictions shown       {timings.pop('usable'):8.2f} s")
    for what, seconds in timings.items():
        goal = f"    goal {GOALS['search']} s" if what == "search, later" else ""
        print(f"{what:<31} {seconds:8.2f} s{goal}")
    print("A search waits 0.12 s for the next key first; that is part of its time.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--many"]:
        measure_many(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        main()
