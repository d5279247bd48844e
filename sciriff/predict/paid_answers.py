"""Every answer that a server gave to this run, on the disk before the next is asked for.

predictions/<task>.jsonl is made from these rows and may be made again; these are only ever added to.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sciriff.config import ModelConfig
from sciriff.data.records import Dollars
from sciriff.models.api.calls import Reply, Sent
from sciriff.models.api.prices import Price
from sciriff.models.api.service import Service
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT
from sciriff.run.json_lines import append_jsonl, read_jsonl, repair_last_line
from sciriff.run.messages import show
from sciriff.run.typed_json import Count

FIX = "not an answer as this stage writes them: move the file away"


def server_settings(service: Service, model: ModelConfig) -> dict[str, Any]:
    """Settings that every answer of a server depends on; not where it is asked."""
    api, template = model.api, template_arguments(service, model)
    return {
        "model": service.model,
        "engine": service.provider,
        "temperature": service.server.temperature,
        "thinking tokens": api.thinking_tokens if api else 0,
        "request": api.request if api else {},
        **({"chat arguments": template} if template else {}),
    }


def template_arguments(service: Service, model: ModelConfig) -> dict[str, Any]:
    """Variables of the chat template, which a server that is one's own is told."""
    return dict(model.chat_arguments) if service.provider == "local" else {}


def model_keys(service: Service, model: ModelConfig) -> dict[str, Any]:
    """Keys of every request that the model brings."""
    template = template_arguments(service, model)
    return {**({"chat_template_kwargs": template} if template else {}), **(model.api.request if model.api else {})}


def endings(finish_reasons: Sequence[str | None]) -> str:
    """Count the ways in which answers ended that a person should know of."""
    ends = Counter(finish_reasons)
    empty = f", {ends[NO_CONTENT]} ended without a word of text" if ends[NO_CONTENT] else ""
    unfinished = f", {ends[UNFINISHED_THOUGHT]} thoughts did not end" if ends[UNFINISHED_THOUGHT] else ""
    held_back = ends["content_filter"] + ends["refusal"]
    return f"{ends['length']} of them cut off at their limit, {held_back} refused or filtered{empty}{unfinished}"


@dataclass(frozen=True)
class PaidAnswer:
    digest: str
    """Digest of the prompt, its limit, the model and the settings that the answer depends on."""
    model: str
    text: str
    finish_reason: str | None
    input_tokens: Count
    """By the server's count."""
    output_tokens: Count
    usd: Dollars | None
    """Cost at the price of its day; None where the price was not known."""
    question: str | None = None
    """Digest of the same without the limit. Both are None in rows of older versions, found by their digest alone."""
    limit: int | None = None
    """Most tokens of the answer, those of thinking included."""
    thought: str | None = None
    """This and its tokens are as in Prediction."""
    thought_tokens: Count | None = None

    def comes_again(self, limit: int) -> bool:
        """Whether the answer would be the same under another limit: the model ended it, and it has room. Where a server
        does not say why an answer ended, one as long as its limit was cut."""
        cut = self.finish_reason in ("length", UNFINISHED_THOUGHT) or (
            self.finish_reason is None and self.output_tokens >= (self.limit or 0)
        )
        return not cut and self.output_tokens <= limit


@dataclass
class PaidAnswers:
    path: Path
    by_digest: dict[str, PaidAnswer] = field(default_factory=dict)
    by_question: dict[str, list[PaidAnswer]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "PaidAnswers":
        """Read the rows of earlier starts; half a line that a kill left is cut off. UserError names file and line."""
        if repair_last_line(path):
            show(f"{path}: its last line was only half written and is asked again")
        answers = cls(path)
        for row in read_jsonl(path, PaidAnswer, FIX) if path.is_file() else ():
            answers._note(row)
        return answers

    def find(self, digest: str, question: str, limit: int) -> PaidAnswer | None:
        """The answer with this digest, or one to the same question that would be the same under this limit."""
        if digest in self.by_digest:
            return self.by_digest[digest]
        return next((row for row in self.by_question.get(question, ()) if row.comes_again(limit)), None)

    def add(self, call: Sent, reply: Reply, usd: float | None) -> PaidAnswer:
        """Write the answer to a call, on disk before this returns, unless a batch has brought it before."""
        if call.id not in self.by_digest:
            counts = reply.input_tokens, reply.output_tokens
            row = PaidAnswer(call.id, call.model, reply.text, reply.finish_reason, *counts, usd, **call.about)
            row = replace(row, thought=reply.thought, thought_tokens=reply.thought_tokens)
            append_jsonl(self.path, row)
            self._note(row)
        return self.by_digest[call.id]

    def _note(self, row: PaidAnswer) -> None:
        self.by_digest[row.digest] = row
        if row.question is not None:
            self.by_question.setdefault(row.question, []).append(row)

    def spent(self, price: Price) -> float:
        """US dollars that all rows cost; those of unknown price count at today's `price`."""
        return sum(
            price.of(row.input_tokens, row.output_tokens) if row.usd is None else row.usd
            for row in self.by_digest.values()
        )
