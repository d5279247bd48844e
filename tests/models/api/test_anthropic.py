"""Anthropic's Messages against a real socket: what is sent, what is read, which errors end what."""

import json
from typing import Any

import pytest
from anthropic_server import AnthropicServer
from api_calls import chat_call
from api_server import KEY, Answer, Drop, Error, Raw

from sciriff.models.api import limits
from sciriff.models.api.anthropic import AnthropicBatches, read_reply
from sciriff.models.api.calls import Asking, Call, Refused, Reply, Tally, UnknownShape
from sciriff.models.api.endpoint import Endpoint
from sciriff.models.api.limits import Budget, Pacer
from sciriff.models.api.prices import Price


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def some_calls(count: int) -> list[Call]:
    return [chat_call(str(n), "m", f"question {n}", 20) for n in range(count)]


def ask(server: AnthropicServer, calls: list[Call], **changes: Any) -> tuple[dict[str, Reply], Tally]:
    replies: dict[str, Reply] = {}
    options: dict[str, Any] = {"price": Price(0, 0), "budget": Budget(None), "pacer": Pacer(), "at_once": 4}
    options |= {"attempts": 5, "say": lambda line: None, **changes}
    tally = Asking(
        Endpoint(server.base_url, KEY, 10, "anthropic"),
        AnthropicBatches.dialect,
        lambda call, reply: replies.update({call.id: reply}),
        **options,
    ).ask_all(calls)
    return replies, tally


def test_what_is_sent():
    call = chat_call("id", "m", "text", 9, "anthropic", 0.0, {"output_config": {"effort": "low"}})
    assert call.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "text"}],
        "max_tokens": 9,
        "temperature": 0.0,
        "output_config": {"effort": "low"},
    }
    assert "temperature" not in chat_call("id", "m", "text", 9).body


def test_every_trouble_is_gone_through_and_every_call_answered_once():
    troubles = {
        "question 1": [Error(429, {"retry-after": "0.2"}, "slow down")],
        "question 2": [Error(529, message="Overloaded"), Error(500)],
        "question 3": [Drop(), Raw(b"{")],
    }

    def behave(prompt: str, nth: int) -> Any:
        return dict(enumerate(troubles.get(prompt, []), 1)).get(nth, Answer("Fine."))

    with AnthropicServer(behave) as server:
        replies, tally = ask(server, some_calls(8))
        assert set(server.answered.values()) == {1}
        assert server.asked.total() == 8 + 5
        assert server.keys == {KEY}
        assert all(server.versions), "every request says which version of the language it is in"
    assert set(replies.values()) == {Reply("Fine.", 100, 10, "stop")}
    assert tally.retries == {"status 429": 1, "status 529": 1, "status 500": 1, "no response": 1, "broken response": 1}


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("stop", "no_content"),
        ("length", "length"),
        ("stop_sequence", "no_content"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_why_an_answer_ended(reason: str, finish_reason: str):
    with AnthropicServer(lambda prompt, nth: Answer("", 7, 0, reason)) as server:
        replies, _ = ask(server, some_calls(1))
    assert replies == {"0": Reply("", 7, 0, finish_reason)}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Error(401, message=f"invalid x-api-key {KEY}"), r"401 invalid x-api-key \[key\]"),
        (Error(404, message="model: claude-9"), "404 model: claude-9"),
        (Error(402, message="billing"), "402 billing"),
        (Error(429, message="cap", code="enforced_spend_limit_reached"), "429 cap"),
        (Error(400, message="Your credit balance is too low to access the API"), "400 Your credit balance"),
    ],
)
def test_a_server_that_takes_no_call_is_not_asked_on(error: Error, message: str):
    with AnthropicServer(lambda prompt, nth: error) as server:
        with pytest.raises(Refused, match=message):
            ask(server, some_calls(40))
        assert server.asked.total() <= 8


def test_what_a_filter_held_back_is_told_apart():
    def behave(prompt: str, nth: int) -> Any:
        messages = {"question 1": "Output blocked by content filtering policy", "question 2": "max_tokens: too large"}
        return Error(400, message=messages[prompt]) if prompt in messages else Answer()

    with AnthropicServer(behave) as server:
        replies, tally = ask(server, some_calls(4))
    assert sorted(replies) == ["0", "3"]
    assert (sorted(tally.failed), tally.filtered) == (["1", "2"], {"1"})


def test_calls_that_are_all_refused_end_soon():
    """A setting that the model does not know: the 400 is to each call, and no call will fare better."""
    with AnthropicServer(lambda prompt, nth: Error(400, message="temperature is not supported")) as server:
        with pytest.raises(Refused, match="gives no answers: 400 temperature is not supported"):
            ask(server, some_calls(500))
        assert server.asked.total() <= 30


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], {}, "x", 7, {"content": None}, {"content": ""}, {"content": ["x"]}, {"content": {"type": "text"}}),
        {"content": [{"type": "text"}]},
        {"content": [{"type": "text", "text": 5}]},
        {"content": [{"type": "tool_use", "input": {}}]},
    ],
)
def test_what_is_no_message(body: Any):
    with pytest.raises(UnknownShape, match="not a message"):
        read_reply(body, some_calls(1)[0])


def message(content: Any) -> bytes:
    return json.dumps({"content": content, "stop_reason": "end_turn", "usage": {"output_tokens": 3}}).encode()


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (message([]), Reply("", 4, 3, "no_content")),
        (message([{"type": "thinking", "thinking": "hm"}]), Reply("", 4, 3, "no_content", "hm")),
        (message([{"type": "server_tool_use"}, {"type": "text", "text": "Yes."}]), Reply("Yes.", 4, 3, "stop")),
        (b"\xef\xbb\xbf" + message([{"type": "text", "text": "Yes."}]), Reply("Yes.", 4, 3, "stop")),
        (message({"text": "Yes."}), None),
        (message([{"type": "text", "text": None}]), None),
        (b'{"completion": "Yes."}', None),
    ],
)
def test_every_whole_answer_is_paid_for_once(body: bytes, reply: Reply | None):
    with AnthropicServer(lambda prompt, nth: Answer("Fine.") if prompt == "question 0" else Raw(body)) as server:
        replies, tally = ask(server, some_calls(3), at_once=1, attempts=8)
        assert set(server.asked.values()) == {1}
        assert server.asked.total() == 3
    assert [replies.get("1"), replies.get("2")] == [reply, reply]
    assert list(tally.failed) == ([] if reply else ["1", "2"])
    assert all(why.startswith("not a message: ") and "what came is {" in why for why in tally.failed.values())


def test_tokens_are_estimated_where_the_server_counts_none():
    (call,) = some_calls(1)
    thought = {"type": "thinking", "thinking": "hm"}
    content = [thought, {"type": "text", "text": "one"}, {"type": "text", "text": " two"}]
    assert read_reply({"content": content, "usage": {"input_tokens": -1}}, call) == Reply("one two", 4, 3, None, "hm")
    assert read_reply({"content": content, "stop_reason": 5, "usage": 5}, call) == Reply("one two", 4, 3, None, "hm")
