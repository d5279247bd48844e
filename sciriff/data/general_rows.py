"""Rows of general/: prompts of lm-eval's tasks, the answers to them, and what each document scored."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from sciriff.run.digest import value_digest
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.json_lines import Message, read_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import Count, FromOne, read_json

AGAIN = "run the stages predict and general again"

Token = Annotated[int, Meta(ge=0, lt=2**31)]
Finish = Literal["stop", "length", "unfinished_thought", "scored", "skipped", "other"]
LogLikelihood = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


@dataclass(frozen=True)
class GeneralRequest:
    """One prompt: to be continued (`continuations` is empty), or with continuations whose likelihood is wanted."""

    task: str
    """Leaf task of lm-eval."""
    doc_id: Count
    prompt: list[Token]
    """Token ids with the markup of the model; empty where a server applies its own."""
    messages: list[Message] = field(default_factory=list)
    """The same as a conversation, for a server."""
    limit: Count = 0
    """Most new tokens."""
    stops: list[str] = field(default_factory=list)
    """Strings that end the answer; they are no part of it."""
    continuations: list[list[Token]] = field(default_factory=list)
    """Token ids of each continuation whose log-likelihood is wanted."""

    @property
    def digest(self) -> str:
        """Digest of all that an answer depends on besides the model: not of where the prompt comes from."""
        conversation = [[message.role, message.content] for message in self.messages]
        return value_digest([self.prompt, conversation, self.limit, self.stops, self.continuations])


@dataclass(frozen=True)
class GeneralAnswer:
    """The answer to a prompt: a text, or the log-likelihood of each continuation."""

    request: str
    """`GeneralRequest.digest`."""
    made_with: str
    """Digest of the model's files and of the settings that an answer depends on."""
    asked: str
    """Digest of all prompts of the start that made it. Batches, and so last digits, depend on the others."""
    finish_reason: str
    """`stop`, `length`, `unfinished_thought`, `no_content` or `scored`; a server may have words of its own."""
    output_tokens: Count = 0
    text: str = ""
    """Up to the stop string or end token, without special tokens."""
    log_likelihoods: list[LogLikelihood] = field(default_factory=list)
    """Natural logarithm, summed over the tokens of each continuation."""
    greedy: list[bool] = field(default_factory=list)
    """For each continuation whether all its tokens are the most likely ones."""
    thought: str | None = None
    """This and its tokens are as in Prediction."""
    thought_tokens: Count | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the thought ran into its limit."""
        return self.finish_reason == UNFINISHED_THOUGHT


@dataclass(frozen=True)
class GeneralItem:
    """What one document scored: a line of general/<task>.jsonl."""

    doc_id: Count
    """Position in the task's dataset."""
    doc_hash: str
    """lm-eval's digest of the document, and of its target; `doc_id` alone would pair other versions of a dataset."""
    target_hash: str
    value: Annotated[float, Meta(ge=0, le=1)]
    finish: Finish
    """`length`: the answer was cut at its limit; `skipped`: the prompt does not fit the model even without examples."""
    truncated: Count
    """Examples that were left out, so that the prompt fits."""
    question: str
    """The last message of the user, without examples."""
    target: str
    answer: str
    """The model's, or the continuation that it finds most likely."""
    thought_tokens: Count | None = None
    """As in Prediction."""


@dataclass(frozen=True)
class GeneralLeaf:
    """A leaf task as it was scored."""

    documents: FromOne
    """Documents in the whole dataset; `items` of them were asked."""
    items: FromOne
    weight: Annotated[float, Meta(gt=0)]
    """Its share in the value of the task above it is weight over the sum of weights."""
    version: str
    """lm-eval's version of the task."""
    shots: Count
    chance: Annotated[float, Meta(ge=0, lt=1)] | None = None
    """Expected value of guessing, for multiple choice."""


@dataclass(frozen=True)
class GeneralTaskSettings:
    """A task or group that was asked for."""

    metric: str
    """`METRIC` or `METRIC,FILTER`, by lm-eval's names."""
    leaves: dict[str, GeneralLeaf]


@dataclass(frozen=True)
class GeneralSettings:
    """general/settings.json: how the values were made."""

    name: str
    """Name of the protocol (`general.name`)."""
    lm_eval: str
    """Version."""
    chat: str
    """Markup: model.chat, or `server`."""
    turns: bool
    seed: int
    tasks: dict[str, GeneralTaskSettings]
    """In the order of general.tasks."""


def read_requests(run: RunDir) -> list[GeneralRequest]:
    """Read the prompts that wait for the stage that answers. UserError names file, line and key."""
    return list(read_jsonl(run.general_requests, GeneralRequest, AGAIN))


def read_answers(path: Path) -> Iterator[GeneralAnswer]:
    """Read saved answers. UserError names file, line and key."""
    return read_jsonl(path, GeneralAnswer, AGAIN)


def read_settings(run: RunDir) -> GeneralSettings:
    """Read how the values were made. UserError names the file and what is wrong with it."""
    return read_json(run.general_settings, GeneralSettings, "how general tasks were scored", AGAIN)


def read_items(run: RunDir, task: str) -> list[GeneralItem]:
    """Read the documents of one leaf task, in the order of their `doc_id`. UserError names file, line and key."""
    return list(read_jsonl(run.general / f"{task}.jsonl", GeneralItem, AGAIN))
