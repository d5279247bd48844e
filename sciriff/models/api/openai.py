"""OpenAI's Chat Completions, which vLLM, llama.cpp and many others speak, too, and OpenAI's batches, made of files."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from msgspec import Meta, Struct

from sciriff.models.api.batch import Batch, Batches, BatchState
from sciriff.models.api.calls import (
    Call,
    Dialect,
    Reply,
    Sent,
    UnknownShape,
    believed,
    counted_in,
    ended,
    text_of,
    thought_of,
)
from sciriff.models.api.limits import estimated_tokens
from sciriff.run.json_lines import Message
from sciriff.run.typed_json import typed

CHAT = "/chat/completions"
MARK = "sciriff"
"""The key of our mark in a batch's metadata."""
ENDED = ("completed", "failed", "expired", "cancelled")


class ChatMessage(Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    """What the model thought, as servers with a reasoning parser tell it, under the older name and the newer one."""

    @property
    def thought(self) -> str | None:
        """None where the server tells none."""
        for field in (self.reasoning_content, self.reasoning):
            if isinstance(field, str) and field:
                return field
        return thought_of(self.content) if isinstance(self.content, list) else None


class Choice(Struct):
    message: ChatMessage
    finish_reason: Any = None


class Completion(Struct):
    """The fields of a chat completion that are read."""

    choices: Annotated[list[Choice], Meta(min_length=1)]
    usage: Any = None


class BatchResponse(Struct):
    status_code: Any = 200
    body: Any = None


class ResultLine(Struct):
    """A line of a batch's results."""

    custom_id: str
    response: BatchResponse | None = None
    error: Any = None


def read_reply(body: Any, call: Sent | None = None) -> Reply:
    """The answer in a chat completion: the text of its first choice, or its refusal. UnknownShape where there is none.
    Tokens that the server does not tell, or that cannot be, are estimated."""
    try:
        completion = typed(body, Completion)
        message, finish_reason = completion.choices[0].message, completion.choices[0].finish_reason
        text, refusal = _said(message)
    except ValueError as error:
        raise UnknownShape(f"not a chat completion: {error}", body) from None
    if refusal and not text:
        text, finish_reason = refusal, "refusal"
    thought = message.thought
    thought_tokens = counted_in(completion.usage, "completion_tokens_details.reasoning_tokens")
    output_tokens = believed(completion.usage, "completion_tokens", estimated_tokens((thought or "") + text))
    has_thought = thought is not None or bool(thought_tokens)
    return Reply(
        text,
        believed(completion.usage, "prompt_tokens", call.input_tokens if call else 0),
        output_tokens,
        ended(text, finish_reason, has_thought) if isinstance(finish_reason, str) else None,
        thought or None,
        min(thought_tokens, output_tokens) if thought_tokens else None,
    )


def _said(message: ChatMessage) -> tuple[str, str]:
    """Text and refusal of a message, whose content is a text or a list of parts. ValueError where it is neither."""
    content, refusal = message.content, message.refusal or ""
    if isinstance(content, list):
        texts, refusals = [], []
        for part in content:
            found = part.get("refusal") if isinstance(part, dict) else None
            if isinstance(found, str):
                refusals.append(found)
            else:
                texts.append(part)
        return text_of(texts), refusal or "".join(refusals)
    return content or "", refusal


def conversation(messages: Sequence[Message]) -> dict[str, Any]:
    """The conversation as a request has it."""
    return {"messages": [{"role": message.role, "content": message.content} for message in messages]}


class OpenAiBatches(Batches):
    """https://platform.openai.com/docs/guides/batch"""

    dialect = Dialect(CHAT, read_reply, conversation)
    most_calls = 50_000
    most_bytes = 200 * 10**6
    path = "/batches"
    after_name = "after"

    def item(self, call: Call, mark: str) -> dict[str, Any]:
        return {"custom_id": call.id, "method": "POST", "url": f"/v1{CHAT}", "body": call.body}

    def prepare(self, items: Sequence[dict[str, Any]]) -> str:
        """Upload the calls. Returns the name of their file."""
        lines = "".join(json.dumps(item) + "\n" for item in items)
        file = ("calls.jsonl", lines.encode(), "application/jsonl")
        return self.read_id(self.ask("POST", "/files", {"purpose": "batch"}, file))

    def creation(self, state: BatchState, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        about = {"endpoint": f"/v1{CHAT}", "completion_window": "24h", "metadata": {MARK: state.mark}}
        return {"input_file_id": state.prepared, **about}

    def find(self, state: BatchState) -> str | None:
        marked = (b.id for b in self.listed() if isinstance(b.metadata, dict) and b.metadata.get(MARK) == state.mark)
        return next(marked, None)

    def status(self, batch: Batch) -> tuple[str, bool]:
        counts = batch.request_counts or {}
        words = f"{batch.status}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
        return words, batch.status in ENDED

    def results(self, batch: Batch) -> Iterator[str]:
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            # not splitlines: a response may hold U+2028 and its like, which JSON does not escape
            yield from self.ask("GET", f"/files/{quote(file, safe='')}/content").split("\n")

    def outcome(self, row: Any) -> tuple[str, int, Any]:
        line = typed(row, ResultLine)
        response = line.response or BatchResponse(status_code=None)
        status = response.status_code
        if status == 200:
            return line.custom_id, 200, response.body
        status = status if type(status) is int and status >= 400 else 400
        return line.custom_id, status, {"error": line.error} if line.error else response.body
