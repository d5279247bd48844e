"""OpenAI's Chat Completions, as vLLM, llama.cpp and many others speak it, too."""

from collections.abc import Mapping
from typing import Any

from sciriff.models.api.calls import Call, Dialect, Reply, Sent, believed
from sciriff.models.api.limits import estimated_tokens
from sciriff.run.user_error import UserError

CHAT = "/chat/completions"


def chat_call(
    id: str,
    model: str,
    text: str,
    longest: int,
    limit_name: str,
    temperature: float | None,
    more: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Call:
    """A call with one user message. `limit_name` is what the server calls the limit on an answer's tokens: OpenAI
    max_completion_tokens, most others max_tokens. No temperature is the server's own. `more` has further keys."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], limit_name: longest}
    if temperature is not None:
        body["temperature"] = temperature
    return Call(id, model, estimated_tokens(text), dict(about or {}), {**body, **(more or {})}, longest)


def reply_text(body: Any) -> str:
    """The text of a chat completion's first choice; empty where it said nothing. UserError for anything else."""
    try:
        message = body["choices"][0]["message"]
        text = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UserError("not a chat completion") from None
    if text is None:
        text = message.get("refusal") or ""
    if not isinstance(text, str):
        raise UserError("not a chat completion: its content is not a text")
    return text


def read_reply(body: Any, call: Sent) -> Reply:
    """The answer in a chat completion. UserError where there is none. Tokens that the server does not tell, or that
    cannot be, are estimated."""
    text = reply_text(body)
    choice = body["choices"][0]
    finish_reason = choice.get("finish_reason")
    if choice["message"].get("content") is None and choice["message"].get("refusal"):
        finish_reason = "refusal"
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        text,
        believed(usage.get("prompt_tokens"), call.input_tokens),
        believed(usage.get("completion_tokens"), estimated_tokens(text)),
        finish_reason if isinstance(finish_reason, str) else None,
    )


OPENAI = Dialect(CHAT, read_reply)
