"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages)."""

from collections.abc import Mapping
from typing import Any

from sciriff.models.api.calls import Call, Dialect, Reply, Sent, believed
from sciriff.models.api.limits import estimated_tokens
from sciriff.models.api.transport import Endpoint
from sciriff.run.user_error import UserError

MESSAGES = "/messages"
VERSION = "2023-06-01"
"""Of the language, in the header anthropic-version, which every request needs."""

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""Its stop_reason -> our name for the same; others (refusal, pause_turn) keep theirs."""


def anthropic_endpoint(base_url: str, key: str | None, timeout: float) -> Endpoint:
    """A server of this language: the key has a header of its own."""
    return Endpoint(base_url, key, timeout, "x-api-key", "", (("anthropic-version", VERSION),))


def message_call(
    id: str,
    model: str,
    text: str,
    longest: int,
    temperature: float | None,
    more: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Call:
    """A call with one user message. No temperature is the server's own, and models since Claude 5 take no other.
    `more` has further keys, such as thinking."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": longest}
    if temperature is not None:
        body["temperature"] = temperature
    return Call(id, model, estimated_tokens(text), dict(about or {}), {**body, **(more or {})}, longest)


def read_reply(body: Any, call: Sent) -> Reply:
    """The answer in a message: the text of all its text blocks, without what was thought. UserError where there is
    none. Tokens that the server does not tell, or that cannot be, are estimated."""
    try:
        blocks = body["content"]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        usage, stop_reason = body.get("usage"), body.get("stop_reason")
    except (KeyError, TypeError, AttributeError):
        raise UserError("not a message") from None
    if not isinstance(blocks, list) or not all(isinstance(text, str) for text in texts):
        raise UserError("not a message: its content is not a list of texts")
    text = "".join(texts)
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        text,
        believed(usage.get("input_tokens"), call.input_tokens),
        believed(usage.get("output_tokens"), estimated_tokens(text)),
        FINISH_REASONS.get(stop_reason, stop_reason) if isinstance(stop_reason, str) else None,
    )


ANTHROPIC = Dialect(MESSAGES, read_reply)
