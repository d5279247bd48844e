"""Compare the scoring of multiple-choice prompts with lm-eval's own class for transformers models, on the CPU.

python benchmarks/general.py [--subjects 4] [--questions 20] [--rounds 3]

Both score the letters A to D after the same token ids, subjects with five examples as MMLU has them, with the same
random weights in float32, one after the other in this process; seconds are those of the processor, so that other
programs change little. Prints the ratio, and by how much the log-likelihoods differ. Needs lm-eval.
"""

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sciriff.config import SAMPLE, EngineConfig, ModelConfig, ShapeConfig
from sciriff.models.engines.likelihoods import scored
from sciriff.models.engines.transformers import last_only, plan_general_batches
from sciriff.models.loading import load_model, load_tokenizer
from sciriff.run import machine

SHAPE = ShapeConfig(
    layers=4, hidden=256, intermediate=512, heads=4, kv_heads=4, vocabulary=4096, context=1024, tied_embeddings=True
)
EXAMPLES, QUESTION = 600, (40, 120)
"""Tokens of a subject's examples, and of its questions, from and to."""
LETTERS = [[65], [66], [67], [68]]
ROWS = 20
"""Prompts of a batch, for both."""

LogLikelihoods = list[list[float]]


def prompts(subjects: int, questions: int) -> list[list[int]]:
    draw = random.Random(0)

    def words(count: int) -> list[int]:
        return [draw.randrange(10, SHAPE.vocabulary) for _ in range(count)]

    examples = [[1, *words(EXAMPLES)] for _ in range(subjects)]
    return [[*examples[number % subjects], *words(draw.randrange(*QUESTION))] for number in range(subjects * questions)]


def ours(model: Any, asked: list[list[int]]) -> LogLikelihoods:
    engine = EngineConfig(name="transformers", batch_tokens=ROWS * (EXAMPLES + QUESTION[1] + 2))
    answers = {}
    for batch in plan_general_batches(asked, [1] * len(asked), engine):
        some = [asked[place] for place in batch]
        for answer in scored(model, batch, some, [LETTERS] * len(batch), last_only(model), engine.batch_tokens):
            answers[answer.place] = answer.log_likelihoods
    return [answers[place] for place in range(len(asked))]


def lm_evals(model: Any, tokenizer: Any, asked: list[list[int]]) -> LogLikelihoods:
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=ROWS, max_length=SHAPE.context)
    requests = [((f"{place}", f"{one}"), prompt, one) for place, prompt in enumerate(asked) for one in LETTERS]
    values = [value for value, _ in theirs._loglikelihood_tokens(requests, disable_tqdm=True)]
    return [values[first : first + len(LETTERS)] for first in range(0, len(values), len(LETTERS))]


def timed(score: Callable[[], LogLikelihoods]) -> tuple[float, LogLikelihoods]:
    started = time.process_time()
    found = score()
    return time.process_time() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if importlib.util.find_spec("lm_eval") is None:
        print("lm-eval is not installed here, so that nothing is compared: pip install 'sciriff[general]'")
        return
    config = ModelConfig(name="tiny", tokenizer=str(SAMPLE / "tokenizer"), chat="tulu", dtype="float32", shape=SHAPE)
    model, tokenizer = load_model(config, seed=1, dtype=torch.float32).eval(), load_tokenizer(config)
    torch.set_num_threads(1)
    asked = prompts(args.subjects, args.questions)
    ours(model, asked[:2])  # the first pass is slower
    ratios, seconds = [], []
    for _ in range(args.rounds):
        mine, found = timed(lambda: ours(model, asked))
        their, expected = timed(lambda: lm_evals(model, tokenizer, asked))
        ratios.append(their / mine)
        seconds.append((mine, their))
    apart = max(abs(a - b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))
    same = sum(x.index(max(x)) == y.index(max(y)) for x, y in zip(found, expected, strict=True))
    mine, their = (statistics.median(column) for column in zip(*seconds, strict=True))
    commit = machine.git_commit(Path(__file__).resolve().parents[1]) or "unknown"
    print(f"commit {commit}, torch {torch.__version__}, one thread, {len(asked)} prompts")
    print(f"sciriff {mine:.2f} s, lm-eval {their:.2f} s of the processor; ratio {statistics.median(ratios):.1f}")
    print(f"log-likelihoods differ by at most {apart:.1e}; the same letter {same} times of {len(asked)}")


if __name__ == "__main__":
    main()
