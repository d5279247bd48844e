"""Measure the mix stage at the size of Tulu-V2: time, memory, and tokenization relative to bare `tokenizers`.

python benchmarks/mix.py [--rows 330000] [--compare 20000]
python benchmarks/mix.py --near-duplicates 8        # the stage with and without them, of eight sources

The sources are generated, the same on every machine: conversations of one to forty answers (3.4 kB on average, some
far over the context window) with words drawn by Zipf's law from 60,000 invented ones, including a few malformed,
science and duplicate rows; and science rows of five tasks, of which the cap takes half. The tokenizer is a byte-level
BPE of 32,000 tokens trained on the same words.

First the real stage runs on all rows, in its own process. Then the stage's tokenization (read from the spool, render,
truncate, encode, write to disk, read the finished mix, write to Arrow) alternates with bare `encode_batch` and
`encode_batch_fast` calls on rendered texts, whose results are discarded: on slices of the mix, in one process with the
same threads.
"""

import argparse
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sciriff.config import conf_dir, from_container, to_yaml
from sciriff.config.registration import register
from sciriff.data.records import Conversation
from sciriff.data.token_file import TokenFile
from sciriff.mix.spool import Spool
from sciriff.mix.tokenise import Tokeniser
from sciriff.models.chat_markup import jinja_template
from sciriff.run import machine
from sciriff.run.json_lines import dumps, read_jsonl
from sciriff.run.run_dir import RunDir

GOALS = {"memory": 1000, "reading": 60, "ratio": 0.85}
"""MB, MB of jsonl a second, of bare `encode_batch` (which fast tokenizers of transformers call)."""
NEAR_GOALS = {"ratio": 1.5, "memory": 1500}
"""Time beside the stage that does not look for near-duplicates, and MB."""
CHAT = "tulu"
VOCABULARY = 32_000
WORDS = 60_000
DRAWS = 1 << 20
SLICES = 8
BARE_BATCH = 2048
"""Texts per bare call; more or fewer are no faster."""


class Writer:
    """Generator of text from invented words drawn by Zipf's law, reproducible by seed."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        onsets = "b c d f g h l m n p r s t v w st tr pl gr ch sh".split()
        vowels = "a e i o u ea ou ai io".split()
        codas = ["", "", "n", "r", "s", "t", "l", "nd", "ng", "ck", "é", "ü"]
        words = ["".join(chance.choice(part) for part in (onsets, vowels, codas)) for _ in range(WORDS)]
        words = [word + "".join(chance.choice(words) for _ in range(i % 3)) for i, word in enumerate(words)]
        share = np.cumsum(1 / (np.arange(WORDS) + 2.7) ** 1.07)
        self.numbers = np.random.default_rng(seed)
        drawn = np.searchsorted(share, self.numbers.random(DRAWS) * share[-1]).tolist()
        self.words = [self._dressed(words[i], chance) for i in drawn]

    @staticmethod
    def _dressed(word: str, chance: random.Random) -> str:
        draw = chance.random()
        if draw < 0.70:
            return word
        if draw < 0.80:
            return word + ","
        if draw < 0.87:
            return word + "."
        if draw < 0.89:
            return word + ".\n\n"
        if draw < 0.95:
            return word.capitalize()
        if draw < 0.98:
            return str(chance.randrange(3000))
        return chance.choice(("{", "}", "def", "(x)", "=", "α", "—", "数据", "[1]", "<b>"))

    def text(self, words: int) -> str:
        """A text of `words` words, at least one."""
        drawn = self.numbers.integers(0, DRAWS, max(1, words)).tolist()
        return " ".join([self.words[i] for i in drawn])


def general_rows(rows: int, writer: Writer, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Rows like Tulu-V2's. 2 % are science, 1 % are duplicates, 0.1 % have an empty answer."""
    before = None
    for i in range(rows):
        if before is not None and i % 100 == 7:
            yield {**before, "id": f"again_{i}"}
            continue
        answers = 1 if chance.random() < 0.7 else min(40, 1 + int(chance.expovariate(0.3)))
        words = chance.lognormvariate(5.36, 0.8) * (1 + 0.35 * (answers - 1))
        messages = [{"role": "system", "content": writer.text(15)}] if chance.random() < 0.1 else []
        for _ in range(answers):
            messages.append({"role": "user", "content": writer.text(int(words * 0.4 / answers))})
            messages.append({"role": "assistant", "content": writer.text(int(words * 0.6 / answers))})
        if i % 1000 == 500:
            messages[-1]["content"] = " "
        dataset = "science.scierc_ner" if i % 50 == 0 else ("flan_v2", "sharegpt", "cot", "oasst1")[i % 4]
        before = {"dataset": dataset, "id": f"{dataset}_{i}", "messages": messages}
        yield before


def science_rows(rows: int, writer: Writer, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Rows like SciRIFF's, of five tasks that are not held out."""
    for i in range(rows):
        task = ("covid_deepset_qa", "chia_ner", "scitldr_aic", "qasa_abstractive_qa", "ddi_ner")[i % 5]
        source = writer.text(int(chance.lognormvariate(6.2, 0.6)))
        yield {"input": source, "output": writer.text(80), "metadata": {}, "_instance_id": f"{task}:train:{i}"}


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(dumps(row) + "\n")


def trained_tokenizer(folder: Path) -> None:
    """Train a byte-level BPE of VOCABULARY tokens, like Llama 3's and Qwen's, and save it to `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, show_progress=False, initial_alphabet=alphabet, special_tokens=["<s>", "</s>", "<pad>"]
    )
    writer = Writer(1)
    tokenizer.train_from_iterator((writer.text(1000) for _ in range(2000)), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)


def prepared_run(folder: Path, per_task: int) -> RunDir:
    """A run folder whose config names the generated sources."""
    run = RunDir(folder / "run")
    run.root.mkdir()
    overrides = [
        *("model=tiny", f"model.tokenizer={folder / 'tokenizer'}", f"model.shape.vocabulary={VOCABULARY}"),
        *("mix=tulu_all", f"mix.per_task={per_task}", f"model.chat={CHAT}", "log=none", "name=benchmark"),
        "mix.overlap=none",  # benchmarks/overlap.py measures it
        *(f"mix.sources.sciriff.path={folder / 'science.jsonl'}", f"mix.sources.tulu.path={folder / 'tulu.jsonl'}"),
        *(f"run_dir={run.root}", f"cache_dir={folder / 'cache'}"),
    ]
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        run.config.write_text(to_yaml(from_container(compose("config", overrides))))
    return run


def of_many_sources(folder: Path, sources: int, near_duplicates: str) -> RunDir:
    """A run folder whose config names the generated general rows as so many sources."""
    run = RunDir(folder / f"run-{near_duplicates}")
    run.root.mkdir()
    overrides = [
        *("model=tiny", f"model.tokenizer={folder / 'tokenizer'}", f"model.shape.vocabulary={VOCABULARY}"),
        *("mix=own", f"model.chat={CHAT}", "log=none", "name=benchmark", "mix.overlap=none", "mix.on_bad_row=drop"),
        *(f"+mix.sources.part{number}.path={folder / f'part{number}.jsonl'}" for number in range(sources)),
        *(f"mix.near_duplicates={near_duplicates}", f"run_dir={run.root}", f"cache_dir={folder / near_duplicates}"),
    ]
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        run.config.write_text(to_yaml(from_container(compose("config", overrides))))
    return run


def measured_near_duplicates(folder: Path, rows: int, sources: int) -> None:
    """Print time and memory of the stage with near-duplicates counted, and dropped, beside the stage without. One row
    in twenty is made a copy of an earlier one with a word in fifty changed."""
    writer, chance = Writer(0), random.Random(0)
    trained_tokenizer(folder / "tokenizer")
    made = general_rows(rows, writer, chance)
    before: list[dict[str, Any]] = []
    copies = 0
    for number in range(sources):
        with (folder / f"part{number}.jsonl").open("w", encoding="utf-8") as file:
            for i in range(number * rows // sources, (number + 1) * rows // sources):
                row = next(made)
                if i % 20 == 3 and before:
                    row = {**chance.choice(before), "id": f"copy{i}"}
                    messages = [dict(message) for message in row["messages"]]
                    for message in messages:
                        words = message["content"].split(" ")
                        message["content"] = " ".join("changed" if n % 50 == 9 else w for n, w in enumerate(words))
                    row["messages"], copies = messages, copies + 1
                elif len(before) < 20_000:
                    before.append(row)
                file.write(dumps(row) + "\n")
    before.clear()
    gc.collect()
    print(f"{rows:,} rows from {sources} sources, {copies:,} of them copies with a word in fifty changed", flush=True)
    base: dict[str, float] = {}
    for setting in ("none", "report", "drop"):
        run = of_many_sources(folder, sources, setting)
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "sciriff.mix", str(run.root), "--trust"], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"the mix stage ended with status {child.returncode}")
        found = {"wall": time.perf_counter() - started, "CPU": usage.ru_utime + usage.ru_stime}
        base = base or found
        card = json.loads(run.mix_card.read_text())
        print(f"near_duplicates={setting:<8}{card['rows']:>9,} rows in the mix", end="")
        for what, seconds in found.items():
            print(f"{seconds:9.1f} s {what} ({seconds / base[what]:.2f} of none)", end="")
        print(f"{usage.ru_maxrss / 1024:7.0f} MB    goals {NEAR_GOALS['ratio']}, {NEAR_GOALS['memory']} MB", flush=True)
        print(f"  {card['near_duplicates']['summary']}", flush=True)


def measured_stage(run: RunDir) -> tuple[dict[str, float], float]:
    """Seconds of each phase of the stage, recognised by its output, and its peak memory (MB)."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "sciriff.mix", str(run.root), "--trust"],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert child.stdout is not None
    seen: dict[str, list[float]] = {}
    for line in child.stdout:
        for what in ("rows chosen", "rows tokenised"):
            if what in line:
                seen.setdefault(what, []).append(time.perf_counter() - started)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the mix stage ended with status {child.returncode}")
    ended = time.perf_counter() - started
    chosen, tokenised = seen["rows chosen"], seen["rows tokenised"]
    phases = {
        "start, read, check, spool": chosen[0],
        "choose (tokenises)": chosen[-1] - chosen[0],
        "write": tokenised[0] - chosen[-1],
        "tokens to Arrow": tokenised[-1] - tokenised[0],
        "digests, card, table": ended - tokenised[-1],
        "all": ended,
    }
    return phases, usage.ru_maxrss / 1024


def compared(mix: Path, rows: int, folder: Path, tokenizer: PreTrainedTokenizerFast) -> dict[str, list[float]]:
    """Seconds of ours and of the bare calls on each slice of `mix`, alternating. Each has its own tokenizer, since one
    that has seen a text caches its words and is faster the second time."""
    seconds: dict[str, list[float]] = {"ours": [], "encode_batch": [], "encode_batch_fast": []}
    file = str(folder / "tokenizer" / "tokenizer.json")
    backends = {name: Tokenizer.from_file(file) for name in ("encode_batch", "encode_batch_fast")}
    lines = mix.open("rb")
    gc.freeze()  # as the stage does
    for number in range(SLICES + 1):
        part = folder / "slice.jsonl"
        count = rows // SLICES
        part.write_bytes(b"".join(next(lines) for _ in range(count)))
        conversations = list(read_jsonl(part, Conversation))
        texts = [rendered(conversation, tokenizer) for conversation in conversations]
        order = ["ours", "encode_batch", "encode_batch_fast"]
        with Spool(folder / "slice.spool") as spool:
            candidates = [spool.add(conversation) for conversation in conversations]
            for name in order[number % 3 :] + order[: number % 3]:
                started = time.perf_counter()
                if name == "ours":
                    tokeniser = Tokeniser(CHAT, tokenizer, folder)
                    tokeniser.fitting(map(spool.read, candidates), 1 << 30, "drop")
                    tokeniser.write(part, count, folder / "slice")
                else:
                    encode = getattr(backends[name], name)
                    for begin in range(0, count, BARE_BATCH):
                        encode(texts[begin : begin + BARE_BATCH], add_special_tokens=False)
                if number:  # the first slice warms caches
                    seconds[name].append(time.perf_counter() - started)
    return seconds


def rendered(row: Conversation, tokenizer: PreTrainedTokenizerFast) -> str:
    messages = [{"role": message.role, "content": message.content} for message in row.messages]
    return tokenizer.apply_chat_template(messages, chat_template=jinja_template(CHAT), tokenize=False)


def main() -> None:
    """Print phases, memory and ratio beside their goals."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=330_000, help="conversations of the generated source")
    parser.add_argument("--compare", type=int, default=20_000, help="rows on which ours and bare calls alternate")
    near = "only measure near-duplicates among --rows conversations from so many sources"
    parser.add_argument("--near-duplicates", type=int, default=0, metavar="SOURCES", help=near)
    arguments = parser.parse_args()
    threads = os.environ.get("RAYON_NUM_THREADS", "as many as cores")
    print(
        f"commit {commit}, {platform.machine()}, {os.cpu_count()} cores",
        end="",
    )
    print(f", RAYON_NUM_THREADS {threads}, byte-level BPE of {VOCABULARY:,}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.near_duplicates:
            measured_near_duplicates(folder, arguments.rows, arguments.near_duplicates)
            return
        science = max(arguments.rows // 50, 10)
        writer, chance = Writer(0), random.Random(0)
        write_rows(folder / "tulu.jsonl", general_rows(arguments.rows, writer, chance))
        write_rows(folder / "science.jsonl", science_rows(science, writer, chance))
        megabytes = sum((folder / f"{name}.jsonl").stat().st_size for name in ("tulu", "science")) / 1e6
        trained_tokenizer(folder / "tokenizer")
        run = prepared_run(folder, per_task=science // 10)
        phases, memory = measured_stage(run)
        card = json.loads(run.mix_card.read_text())
        lengths = TokenFile(run.tokens).lengths
        print(f"{arguments.rows + science:,} rows read, {megabytes:,.0f} MB of jsonl; {card['rows']:,} rows", end="")
        print(f" and {lengths.sum() / 1e6:,.1f} M tokens in the mix")
        for phase, seconds in phases.items():
            print(f"{phase:<28}{seconds:8.1f} s")
        speed = megabytes / phases["start, read, check, spool"]
        print(f"{'read':<28}{speed:8.0f} MB/s    goal {GOALS['reading']} MB/s")
        print(f"{'peak memory':<28}{memory:8.0f} MB      goal {GOALS['memory']} MB")

        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        compare = min(arguments.compare, card["rows"] * SLICES // (SLICES + 1))
        seconds = compared(run.mix, compare, folder, tokenizer)
        tokens = lengths[compare // SLICES : compare // SLICES * (SLICES + 1)].sum()
        print(f"tokenising {tokens / 1e6:.1f} M tokens in {SLICES} slices, in turns; median ratio over the slices")
        for name, found in seconds.items():
            ratio = statistics.median(bare / ours for bare, ours in zip(found, seconds["ours"], strict=True))
            goal = f"    goal {GOALS['ratio']}" if name == "encode_batch" else ""
            print(f"{name:<28}{sum(found):8.1f} s  {tokens / sum(found) / 1e6:6.2f} M tokens/s", end="")
            print(f"   ours runs at {ratio:.2f} of it{goal}" if goal else "")


if __name__ == "__main__":
    main()
