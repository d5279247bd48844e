"""Prompts of the general tasks, their tokens, and how long a GPU needs for them, from known sizes of lm-eval's tasks.

general_sizes.tsv says where the sizes come from.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from sciriff.config import Config
from sciriff.models.api.prices import Price
from sciriff.models.training_memory import shape_of
from sciriff.run.machine import GPU_TYPES

GENERATE, LETTER, SCORE = "generate", "letter", "score"
"""What is asked: a text; which of several letters is likely, which a server may write; which of several texts is."""
LETTER_PROMPT, LETTER_ANSWER = 13, 3
"""Tokens of the instruction to answer with a letter, and of what models then write."""
READING = 0.3
"""Share of a GPU's peak that prompts are read at: a rough estimate, three quarters of what training reaches."""
WRITING = {"vllm": 0.05, "transformers": 0.01}
"""The same for tokens of answers in large batches, which wait for the GPU's memory: rough estimates, too."""
OTHER_PEAK = 100.0
"""TFLOP/s of a GPU that is not in GPU_TYPES."""


@dataclass(frozen=True)
class LeafSize:
    """A leaf task of lm-eval."""

    task: str
    groups: list[str]
    """From the closest."""
    kind: str
    documents: int
    shots: int
    """Examples, unless general.shots says otherwise."""
    prompt_tokens: float
    """Mean, without examples."""
    example_tokens: float
    """Mean, one example."""
    choices: float
    """Mean number of choices that are compared; 0 if an answer is generated."""
    answer_tokens: float
    """Mean, a generated answer or one choice."""


@dataclass(frozen=True)
class GeneralWorkload:
    """All prompts of a run, as far as their number is known."""

    prompts: int
    read_tokens: float
    """Tokens of prompts, choices included."""
    written_tokens: float
    """Tokens of generated answers."""
    by_letter: list[str]
    """Tasks that a server is asked for a letter."""
    unknown: list[str]
    """Tasks whose sizes are not known."""

    def usd(self, price: Price) -> float:
        """US dollars at a server."""
        return price.of(round(self.read_tokens), round(self.written_tokens))


@cache
def sizes() -> list[LeafSize]:
    """The known leaf tasks, in the order of the table."""
    with Path(__file__).with_name("general_sizes.tsv").open(newline="") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return [msgspec.convert(row | {"groups": row["groups"].split()}, LeafSize, strict=False) for row in rows]


def leaves_of(task: str) -> list[LeafSize]:
    """The leaves of a task or group; none if it is not in the table."""
    return [leaf for leaf in sizes() if task in (leaf.task, *leaf.groups)]


def general_workload(config: Config) -> GeneralWorkload | None:
    """Return the prompts of the general tasks; None if the run answers none."""
    general, asks = config.general, config.engine.asks
    if not {"general", "predict"} <= set(config.active_stages):
        return None
    prompts, read, written = 0, 0.0, 0.0
    for leaf in [leaf for task in general.tasks for leaf in leaves_of(task)]:
        names = [leaf.task, *leaf.groups]
        limit, shots = general.of(general.limit, *names), general.of(general.shots, *names)
        count = leaf.documents if limit is None else min(limit, leaf.documents)
        prompt = leaf.prompt_tokens + leaf.example_tokens * (leaf.shots if shots is None else shots)
        answer = leaf.answer_tokens
        if leaf.kind == LETTER and asks:
            prompt, answer = prompt + LETTER_PROMPT, LETTER_ANSWER
        elif leaf.kind != GENERATE:  # vLLM reads the prompt again for each choice of several tokens
            again = leaf.choices - 1 if leaf.kind == SCORE and config.engine.name == "vllm" else 0
            prompt, answer = prompt * (1 + again) + leaf.choices * answer, 0
        prompts += count
        read += count * prompt
        written += count * min(answer, general.max_new_tokens or answer)
    letters = [task for task in general.tasks if asks and any(leaf.kind == LETTER for leaf in leaves_of(task))]
    return GeneralWorkload(prompts, read, written, letters, [task for task in general.tasks if not leaves_of(task)])


def general_hours(config: Config, workload: GeneralWorkload, kind: str | None, gpus: int) -> float | None:
    """Return the hours that all `gpus` of this kind together need: two FLOPs per weight and token (Kaplan et al. 2020,
    arXiv 2001.08361) at the shares above. None for a server."""
    if config.engine.asks:
        return None
    if config.engine.replicas != "auto":
        gpus = min(gpus, config.engine.replicas * config.engine.tensor_parallel)
    peak = gpus * (GPU_TYPES[kind].peak if kind else OTHER_PEAK) * 1e12
    at_peak = workload.read_tokens / READING + workload.written_tokens / WRITING[config.engine.name]
    return 2 * shape_of(config).active_parameters * at_peak / peak / 3600
