"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages) and its batches.

For a batch one request holds all calls. A batch bears no name of ours, so the mark is in the names of its calls, which
only its results show. A batch whose submission was never answered is therefore looked for among those that are newer
than the newest one before it and have as many calls; each is waited for until its results can be read.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from sciriff.models.api.batch import Batch, Batches, BatchState
from sciriff.models.api.calls import (
    Call,
    Dialect,
    Refused,
    Reply,
    Sent,
    UnknownShape,
    believed,
    ended,
    text_of,
    thought_of,
)
from sciriff.models.api.limits import estimated_tokens
from sciriff.run.json_lines import Message
from sciriff.run.typed_json import typed

MESSAGES = "/messages"
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""Its stop_reason -> our name for the same; others (refusal, pause_turn) keep theirs."""
LONGEST_NAME = 64
"""Characters of a call's name in a batch, of a-z, A-Z, 0-9, _ and -."""
STATUS = {"api_error": 500, "overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504}
"""Kinds of errors in a batch that another attempt may fix -> the status of the same error to a single call."""


class MessageResponse(Struct):
    """The fields of a message that are read."""

    content: list[Any]
    usage: Any = None
    stop_reason: Any = None


class BatchResult(Struct):
    type: str
    message: Any = None
    error: Any = None


class BatchLine(Struct):
    """A line of a batch's results."""

    custom_id: str
    result: BatchResult


def read_reply(body: Any, call: Sent) -> Reply:
    """The text of a message, and its thinking apart; impossible token counts are estimated. UnknownShape without a
    text. Its API counts the tokens of both together."""
    try:
        message = typed(body, MessageResponse)
        text = text_of(message.content)
    except ValueError as error:
        raise UnknownShape(f"not a message: {error}", body) from None
    stop_reason, thought = message.stop_reason, thought_of(message.content)
    ending = FINISH_REASONS.get(stop_reason, stop_reason) if isinstance(stop_reason, str) else None
    return Reply(
        text,
        believed(message.usage, "input_tokens", call.input_tokens),
        believed(message.usage, "output_tokens", estimated_tokens((thought or "") + text)),
        ended(text, ending, thought is not None),
        thought or None,
    )


def conversation(messages: Sequence[Message]) -> dict[str, Any]:
    """The conversation as a request has it: what the system says apart, then turns that alternate, the user's first."""
    system = [message.content for message in messages if message.role == "system"]
    turns = [
        {"role": role, "content": "\n\n".join(message.content for message in same)}
        for role, same in groupby((message for message in messages if message.role != "system"), lambda one: one.role)
    ]
    assert turns and turns[0]["role"] == "user", "whoever writes prompts begins with the user"
    return {**({"system": "\n\n".join(system)} if system else {}), "messages": turns}


class AnthropicBatches(Batches):
    """https://platform.claude.com/docs/en/build-with-claude/batch-processing"""

    dialect = Dialect(MESSAGES, read_reply, conversation)
    most_calls = 100_000
    most_bytes = 256 * 10**6 - len('{"requests":[]}')
    path = f"{MESSAGES}/batches"
    after_name = "after_id"

    def name_of(self, call: Sent, mark: str) -> str:
        return f"{mark}-{call.id}"[:LONGEST_NAME]

    def item(self, call: Call, mark: str) -> dict[str, Any]:
        return {"custom_id": self.name_of(call, mark), "params": call.body}

    def prepare(self, items: Sequence[dict[str, Any]]) -> str:
        """The name of the newest batch so far; empty where there is none."""
        newest = next(self.listed(), None)
        return newest.id if newest else ""

    def creation(self, state: BatchState, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"requests": items}

    def find(self, state: BatchState) -> str | None:
        for batch in self.listed():
            if batch.id == state.prepared:
                return None
            if sum((batch.request_counts or {}).values()) == state.calls and self._is_marked(batch.id, state.mark):
                return batch.id
        return None

    def _is_marked(self, name: str, mark: str) -> bool:
        """Whether a batch is ours; waits until it can be known."""
        batch = self.wait(name, "; whether it is ours will be seen when it has ended")
        line = next((line for line in self.results(batch) if line.strip()), "{}")
        try:
            return typed(self.endpoint.parse(line), BatchLine).custom_id.startswith(f"{mark}-")
        except ValueError:
            raise Refused(f"{self.endpoint.base_url}: the results of {name} are broken: {line[:80]!r}") from None

    def status(self, batch: Batch) -> tuple[str, bool]:
        status, counts = batch.processing_status, batch.request_counts or {}
        return f"{status}, {counts.get('succeeded', 0)} of {sum(counts.values())} answered", status == "ended"

    def results(self, batch: Batch) -> Iterator[str]:
        # not from its results_url: whatever that is would get the key
        yield from self.ask("GET", f"{self.path}/{quote(batch.id, safe='')}/results").split("\n")

    def outcome(self, row: Any) -> tuple[str, int, Any] | None:
        line = typed(row, BatchLine)
        result = line.result
        if result.type in ("expired", "canceled"):
            return None
        if result.type == "succeeded":
            return line.custom_id, 200, result.message
        inner = result.error.get("error") if isinstance(result.error, dict) else None
        return line.custom_id, STATUS.get(str(inner.get("type")), 400) if isinstance(inner, dict) else 400, result.error
