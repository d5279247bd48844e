"""OpenAI's Chat Completions, as vLLM, llama.cpp and many others speak it, too, and OpenAI's batches.

For a batch a file of calls is uploaded, a batch is made of it, and files of results come back.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from msgspec import Meta, Struct

from sciriff.models.api.batch import Batches, BatchState, ListedBatch
from sciriff.models.api.calls import Call, Dialect, Reply, Sent, believed
from sciriff.models.api.limits import estimated_tokens
from sciriff.models.api.transport import Response
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError

CHAT = "/chat/completions"
MARK = "sciriff"
"""The key of our mark in a batch's metadata."""
ENDED = ("completed", "failed", "expired", "cancelled")


class Message(Struct):
    content: str | None = None
    refusal: Any = None


class Choice(Struct):
    message: Message
    finish_reason: Any = None


class Completion(Struct):
    """What is read of a chat completion."""

    choices: Annotated[list[Choice], Meta(min_length=1)]
    usage: Any = None


class Batch(ListedBatch, kw_only=True):
    """What is read of a batch."""

    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None


class BatchResponse(Struct):
    status_code: Any = 200
    body: Any = None


class BatchRow(Struct):
    """A line of a batch's results."""

    custom_id: str
    response: BatchResponse | None = None
    error: Any = None


def _read(body: Any) -> tuple[Completion, str, bool]:
    """A chat completion, the text of its first choice, and whether that is a refusal. UserError for anything else."""
    try:
        completion = typed(body, Completion)
    except WrongType as error:
        raise UserError(f"not a chat completion: {error}") from None
    message = completion.choices[0].message
    refused = message.content is None and bool(message.refusal)
    text = message.refusal if refused else message.content or ""
    if not isinstance(text, str):
        raise UserError("not a chat completion: its refusal is not a text")
    return completion, text, refused


def reply_text(body: Any) -> str:
    """The text of a chat completion's first choice; empty where it said nothing. UserError for anything else."""
    return _read(body)[1]


def read_reply(body: Any, call: Sent) -> Reply:
    """The answer in a chat completion. UserError where there is none. Tokens that the server does not tell, or that
    cannot be, are estimated."""
    completion, text, refused = _read(body)
    finish_reason = "refusal" if refused else completion.choices[0].finish_reason
    return Reply(
        text,
        believed(completion.usage, "prompt_tokens", call.input_tokens),
        believed(completion.usage, "completion_tokens", estimated_tokens(text)),
        finish_reason if isinstance(finish_reason, str) else None,
    )


OPENAI = Dialect(CHAT, read_reply)


class OpenAiBatches(Batches[Batch]):
    """https://platform.openai.com/docs/guides/batch"""

    most_calls = 50_000
    most_bytes = 200 * 10**6
    path = "/batches"
    after_name = "after"
    kind = Batch

    def item(self, call: Call, mark: str) -> dict[str, Any]:
        return {"custom_id": call.id, "method": "POST", "url": f"/v1{CHAT}", "body": call.body}

    def prepare(self, items: Sequence[dict[str, Any]]) -> str:
        """Upload the calls. Returns the name of their file."""
        lines = "".join(json.dumps(item) + "\n" for item in items)
        file = ("calls.jsonl", lines.encode(), "application/jsonl")
        return self.name(self.ask("POST", "/files", {"purpose": "batch"}, file))

    def creation(self, state: BatchState, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        about = {"endpoint": f"/v1{CHAT}", "completion_window": "24h", "metadata": {MARK: state.mark}}
        return {"input_file_id": state.prepared, **about}

    def find(self, state: BatchState) -> str | None:
        for batch in self.listed():
            if isinstance(batch.metadata, dict) and batch.metadata.get(MARK) == state.mark:
                return batch.id
        return None

    def status(self, batch: Batch) -> tuple[str, bool]:
        counts = batch.request_counts or {}
        words = f"{batch.status}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
        return words, batch.status in ENDED

    def results(self, batch: Batch) -> Iterator[str]:
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            # not splitlines: a response may hold U+2028 and its like, which JSON does not escape
            yield from self.ask("GET", f"/files/{quote(file, safe='')}/content").split("\n")

    def result(self, row: Any, by_name: dict[str, Sent]) -> tuple[Sent, Reply | Response] | None:
        found = typed(row, BatchRow)
        call, response = by_name.get(found.custom_id), found.response
        if call is None:
            return None
        body, status = (response.body, response.status_code) if response else (None, None)
        if status == 200:
            try:
                return call, read_reply(body, call)
            except UserError as error:
                body = {"error": {"message": str(error)}}
        failed = {"error": found.error} if found.error else body
        status = status if type(status) is int and status >= 400 else 400
        return call, Response(status, {}, json.dumps(failed), self.endpoint)
