"""Measure the report page of a whole evaluation in headless Chromium: size, time to first paint, time of a search.

python benchmarks/report.py [PAGE]

The 4,177 predictions are those of benchmarks/scoring.py, with prompts of each task's mean length in SciRIFF. Their
words are random, so they compress somewhat worse than papers (Qasper's prompts: to 0.29). The page is kept as PAGE.
"""

import json
import os
import random
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


def words() -> list[str]:
    """Made-up words, the frequent ones short."""
    chance = random.Random(0)
    return ["".join(chance.choices(LETTERS, range(26, 0, -1), k=2 + round(rank**0.25))) for rank in range(VOCABULARY)]


def papers(vocabulary: list[str], task: Task) -> list[str]:
    """Documents, one per paper of the task."""
    chance = random.Random(task.name)
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))
    count = -(-catalogue()[task.name].validation // QUESTIONS_A_PAPER.get(task.name, 1))
    length = catalogue()[task.name].mean_input_tokens * CHARACTERS_PER_TOKEN
    made = []
    for _ in range(count):
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


def predictions(task: Task, vocabulary: list[str]) -> list[Prediction]:
    """Predictions of the scoring benchmark, with prompts of an instruction, a paper and a question."""
    every, found = papers(vocabulary, task), []
    for number, row in enumerate(scoring.predictions(task)):
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


def main() -> None:
    """Print the page's size and timings beside their goals."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    vocabulary = words()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {task.name: predictions(task, vocabulary) for task in HELD_OUT}
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
    main()
