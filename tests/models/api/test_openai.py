"""Calls against a real socket that answers 429, 500, rubbish, or not at all."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest
from api_calls import chat_call
from api_server import KEY, Answer, Behaviour, Drop, Error, Hang, Raw
from openai_server import OpenAiServer

from sciriff.models.api import limits
from sciriff.models.api.calls import Asking, Call, Refused, Reply, Tally, UnknownShape
from sciriff.models.api.endpoint import Endpoint, Response, request
from sciriff.models.api.limits import Budget, Pacer
from sciriff.models.api.openai import OpenAiBatches, read_reply
from sciriff.models.api.prices import Price
from sciriff.models.api.transport import NoAnswer


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def some_calls(count: int) -> list[Call]:
    return [chat_call(str(n), "m", f"question {n}", 20) for n in range(count)]


def ask(server: OpenAiServer, calls: list[Call], *, timeout: float = 10, **changes: Any) -> tuple[list[str], Tally]:
    """The ids of the answered calls in the order in which their answers came, and the tally."""
    answered: list[str] = []
    options: dict[str, Any] = {"price": Price(0, 0), "budget": Budget(None), "pacer": Pacer(), "at_once": 4}
    options |= {"attempts": 5, "say": lambda line: None, "on_reply": lambda call, reply: answered.append(call.id)}
    endpoint = Endpoint(server.base_url, KEY, timeout)
    tally = Asking(endpoint, OpenAiBatches.dialect, **{**options, **changes}).ask_all(calls)
    return answered, tally


def test_every_trouble_is_gone_through_and_every_call_answered_once():
    troubles = {
        "question 1": [Error(429, {"Retry-After": "0.2"}, "slow down")],
        "question 2": [Error(500), Error(503)],
        "question 3": [Drop()],
        "question 4": [Raw(b'{"choices": [{"mess'), Raw(b"[")],
        "question 5": [Raw(b""), Error(408)],
    }

    def behave(prompt: str, nth: int) -> Any:
        return dict(enumerate(troubles.get(prompt, []), 1)).get(nth, Answer())

    with OpenAiServer(behave) as server:
        answered, tally = ask(server, some_calls(12), timeout=60)
        assert sorted(answered, key=int) == [str(n) for n in range(12)]
        assert set(server.answered.values()) == {1}
        assert server.asked.total() == 12 + 8
        assert 1 < server.most_under_way <= 4
        assert server.keys == {f"Bearer {KEY}"}
    assert tally.failed == {}
    assert tally.retries == Counter(
        {"status 429": 1, "status 500": 1, "status 503": 1, "status 408": 1, "no response": 1, "broken response": 3}
    )


def test_a_call_that_hangs_is_cut_off_and_made_again():
    def behave(prompt: str, nth: int) -> Any:
        return Hang() if nth == 1 else Answer()

    with OpenAiServer(behave) as server:
        answered, tally = ask(server, some_calls(1), timeout=0.4, attempts=50)
    assert answered == ["0"]
    assert tally.uncertain == tally.retries["no response"] >= 1


@pytest.mark.parametrize("wish", ["-1", "soon", "", "1e400", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "0.05"])
def test_a_wish_for_a_pause_that_makes_no_sense_does_no_harm(wish: str):
    with OpenAiServer(lambda prompt, nth: Error(429, {"Retry-After": wish}) if nth == 1 else Answer()) as server:
        answered, tally = ask(server, some_calls(2))
    assert sorted(answered) == ["0", "1"]
    assert tally.retries == {"status 429": 2}


def test_the_first_trouble_of_each_kind_is_said_at_once():
    said: list[str] = []
    with OpenAiServer(lambda prompt, nth: Error(503, {"Retry-After": "0.01"}) if nth < 3 else Answer()) as server:
        ask(server, some_calls(3), say=said.append)
    assert said == [f"{server.base_url}: 503 no, and it asks for 0 s of patience; such calls are made again"]


def test_the_pause_that_the_server_asks_for_holds_for_all():
    times: list[float] = []

    def behave(prompt: str, nth: int) -> Any:
        times.append(time.monotonic())
        return Error(429, {"Retry-After": "0.4"}) if len(times) == 1 else Answer()

    with OpenAiServer(behave) as server:
        ask(server, some_calls(6), at_once=1)
    assert times[1] - times[0] >= 0.4


def test_one_call_that_cannot_be_answered_stops_no_other():
    def behave(prompt: str, nth: int) -> Any:
        return Error(400, message="too long") if prompt == "question 2" else Answer()

    with OpenAiServer(behave) as server:
        answered, tally = ask(server, some_calls(5))
    assert len(answered) == 4
    assert tally.failed == {"2": "400 too long"}


def test_a_call_is_given_up_after_its_attempts():
    with OpenAiServer(lambda prompt, nth: Error(500) if prompt == "question 0" else Answer()) as server:
        answered, tally = ask(server, some_calls(3), attempts=3)
        assert server.asked["question 0"] == 3
    assert len(answered) == 2
    assert tally.failed == {"0": "500 no (after 3 attempts)"}


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (lambda prompt, nth: Error(401, message=f"wrong key {KEY}"), "401 wrong key"),
        (lambda prompt, nth: Error(404, message="no such model"), "404 no such model"),
        (lambda prompt, nth: Error(429, message="pay", code="insufficient_quota"), "429 pay"),
        (lambda prompt, nth: Error(429, {"Retry-After": "86400"}, "tomorrow"), "429 tomorrow"),
        (lambda prompt, nth: Error(403, message="not from there"), "403 not from there"),
        (lambda prompt, nth: Error(503, {"Retry-After": "1e9"}, "later"), r"503 later \(and no call for 1e\+09 s\)"),
        (lambda prompt, nth: Error(500, {"Retry-After-Ms": "1e300"}, "later"), "500 later"),
        (lambda prompt, nth: Error(401, message="red \x1b[31m\nhere"), r"401 red \?\[31m here"),
        (lambda prompt, nth: Error(502, message="down"), "gives no answers: 502 down"),
    ],
)
def test_a_server_that_takes_no_call_is_not_asked_on(behave: Behaviour, message: str):
    with OpenAiServer(behave) as server:
        with pytest.raises(Refused, match=message) as caught:
            ask(server, some_calls(40), attempts=2)
        assert server.asked.total() <= 14
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.shows("S2")
def test_a_redirect_does_not_get_the_key(status: int):
    with OpenAiServer() as other:
        place = {"Location": f"{other.base_url}/chat/completions"}
        with (
            OpenAiServer(lambda prompt, nth: Error(status, place, "moved")) as server,
            pytest.raises(Refused, match=rf"{status} moved \(a redirect, which is not followed"),
        ):
            ask(server, some_calls(3))
        assert other.keys == set()


@pytest.mark.shows("S4")
def test_a_proxy_does_not_get_the_key():
    """It is asked for a tunnel, and refuses."""
    heard: list[bytes] = []

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    script = (
        "from sciriff.models.api.endpoint import Endpoint, NoAnswer, request\n"
        f"try: request(Endpoint('https://api.example/v1', {KEY!r}), 'POST', '/x', {{}})\n"
        "except NoAnswer as error: print(error, error.may_cost)"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse, args=(listener,), daemon=True).start()
        proxy = {"https_proxy": f"http://127.0.0.1:{listener.getsockname()[1]}", "no_proxy": ""}
        command, environment = [sys.executable, "-c", script], {**os.environ, **proxy}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "403 Forbidden False\n"
    assert heard[0].startswith(b"CONNECT api.example:443")
    assert KEY.encode() not in heard[0]


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    budget = Budget(1.0)
    with pytest.raises(Refused, match=r"gives no answers: .*refused"):
        Asking(
            Endpoint(f"http://127.0.0.1:{port}/v1", None, 5),
            OpenAiBatches.dialect,
            lambda call, reply: None,
            price=Price(0, 1000),
            budget=budget,
            pacer=Pacer(),
            at_once=2,
            attempts=2,
            say=print,
        ).ask_all(some_calls(10))
    assert budget.spent == 0


@pytest.mark.parametrize("action", [Drop(), Raw(b"{"), Raw(b"{}"), Raw(b" " * 5_000_000)])
def test_calls_that_bring_no_answer_count_against_the_cap(action: Any):
    """For all that we know they were paid for."""
    price, budget = Price(0, 1000), Budget(2.5)
    calls = [chat_call(str(n), "m", "q", 1000) for n in range(4)]
    with OpenAiServer(lambda prompt, nth: action) as server:
        answered, tally = ask(server, calls, price=price, budget=budget, at_once=1)
        assert server.asked.total() == 2
    assert answered == []
    assert (tally.unasked, tally.uncertain) == (2 if action == Raw(b"{}") else 4, 2)
    assert budget.spent == pytest.approx(2)


def test_calls_that_are_refused_do_not():
    budget = Budget(1.0)
    calls = [chat_call("0", "m", "q", 1000)]
    with OpenAiServer(lambda prompt, nth: Error(500) if nth < 4 else Answer()) as server:
        answered, _ = ask(server, calls, price=Price(0, 1000), budget=budget)
    assert answered == ["0"]
    assert budget.spent == pytest.approx(0.01)


def test_calls_under_way_together_stay_below_the_cap():
    release = threading.Event()

    def behave(prompt: str, nth: int) -> Any:
        return Answer(output_tokens=1000)

    budget = Budget(3.5)
    calls = [chat_call(str(n), "m", f"q {n}", 1000) for n in range(20)]
    with OpenAiServer(behave) as server:
        server.before_answer = release.wait
        threading.Timer(0.3, release.set).start()
        answered, tally = ask(server, calls, price=Price(0, 1000), budget=budget, at_once=8)
        assert server.asked.total() == 3
    assert (len(answered), tally.unasked) == (3, 17)
    assert budget.spent == pytest.approx(3)


def test_the_cap_holds_when_answers_cost_more_than_was_thought():
    """A thousand tokens were expected at most; the server counts ten thousand."""
    price, budget = Price(0, 1000), Budget(25.0)
    calls = [chat_call(str(n), "m", "q", 1000) for n in range(20)]
    with OpenAiServer(lambda prompt, nth: Answer(output_tokens=10_000)) as server:
        answered, tally = ask(server, calls, price=price, budget=budget, at_once=1)
        assert server.asked.total() == 3
    assert len(answered) == 3
    assert tally.unasked == 17
    assert budget.spent == pytest.approx(30)


def test_an_interrupted_caller_gets_no_answer_any_more():
    """Ctrl-C while the calls are under way: their answers come when whoever asked has gone on."""
    release, answered, arrivals = threading.Event(), [], itertools.count(1)
    with OpenAiServer() as server:

        def before_answer() -> None:
            if next(arrivals) == 2:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            release.wait()

        server.before_answer = before_answer
        with pytest.raises(KeyboardInterrupt):
            ask(server, some_calls(9), at_once=2, on_reply=lambda call, reply: answered.append(call.id))
        release.set()
        # not join: after a Ctrl-C in it Python 3.11 takes a thread that runs for one that has ended
        while server.answered.total() < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        assert server.asked.total() == 2
    assert answered == []


def test_what_fails_to_be_written_stops_everything():
    def on_reply(call: Call, reply: Reply) -> None:
        raise OSError("disk full")

    with OpenAiServer() as server:
        with pytest.raises(OSError, match="disk full"):
            Asking(
                Endpoint(server.base_url),
                OpenAiBatches.dialect,
                on_reply,
                price=Price(0, 0),
                budget=Budget(None),
                pacer=Pacer(),
                at_once=2,
                attempts=2,
                say=print,
            ).ask_all(some_calls(50))
        assert server.asked.total() <= 4


@pytest.mark.shows("S3")
def test_a_server_that_drips_meets_the_deadline():
    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            try:
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", None, 0.4)
        with pytest.raises(NoAnswer, match=r"no whole response within 0\.4 s"):
            request(endpoint, "GET", "/x")


def test_half_a_body_is_no_response():
    def cut(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=cut, args=(listener,), daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", None, 5)
        with pytest.raises(NoAnswer, match="received 2 bytes, expected 1000"):
            request(endpoint, "GET", "/x")


def test_a_line_of_rubbish_that_repeats_the_key():
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(f"what is {KEY}?\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY, 5)
        with pytest.raises(NoAnswer, match=r"what is \[key\]\?"):
            request(endpoint, "GET", "/x")


@pytest.mark.shows("S1")
def test_a_key_in_another_spelling():
    spelt = "".join(f"\\u{ord(character):04x}" for character in KEY)
    endpoint = Endpoint("http://x", KEY)
    assert endpoint.parse(f'{{"{spelt}": ["it is {spelt}", 5]}}') == {"[key]": ["it is [key]", 5]}
    assert Response(401, {}, f'{{"error": {{"message": "{spelt}"}}}}', endpoint).message() == "401 [key]"


def test_a_word_in_place_of_a_key_is_no_secret():
    assert Endpoint("http://x", "EMPTY").parse('["EMPTY"]') == ["EMPTY"]


HOSTILE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[" * 100_000,
    b'{"choices": {"0": {}}}',
    b'{"choices": [{"message": [{"content": "x"}]}]}',
    b'{"choices": [{"message": {"content": [{"type": "text", "text": ["x"]}]}}]}',
    b'{"choices": [{"message": {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}}]}',
    b'{"choices": [{"message": {"content": null, "refusal": {"x": 1}}}]}',
    b'{"choices": [{"message": {"content": "' + b"x" * 10_000_000 + b'"}}]}',
    b'{"choices": [{"message": {"content": "x"}}], "usage": ' + b"9" * 5000 + b"}",
]


def test_answers_of_any_shape_spoil_no_other():
    def behave(prompt: str, nth: int) -> Any:
        number = int(prompt.removeprefix("question "))
        return Answer() if number % 2 else Raw(HOSTILE[number // 2])

    with OpenAiServer(behave) as server:
        answered, tally = ask(server, some_calls(2 * len(HOSTILE)), at_once=1, attempts=1)
    assert answered == [str(n) for n in range(1, 2 * len(HOSTILE), 2)]
    assert list(tally.failed) == [str(n) for n in range(0, 2 * len(HOSTILE), 2)]


def completion(message: Any, finish_reason: str | None = "stop", **more: Any) -> bytes:
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    return json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 3}, **more}).encode()


def thinking_counted(tokens: Any, text: str, finish_reason: str) -> bytes:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": tokens}}
    return completion({"content": text}, finish_reason, usage=usage)


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (completion({"content": [{"type": "text", "text": "one"}]}), Reply("one", 9, 3, "stop")),
        (
            completion(
                {"content": [THOUGHT, {"type": "text", "text": "one"}, {"type": "output_text", "text": " two"}]}
            ),
            Reply("one two", 9, 3, "stop", "hm"),
        ),
        (
            completion({"content": [{"type": "image_url"}, {"type": "text", "text": "seen"}]}, "length"),
            Reply("seen", 9, 3, "length"),
        ),
        (completion({"content": [{"type": "refusal", "refusal": "No."}]}), Reply("No.", 9, 3, "refusal")),
        (completion({"content": [THOUGHT]}), Reply("", 9, 3, "no_content", "hm")),
        (completion({"content": [THOUGHT]}, "length"), Reply("", 9, 3, "unfinished_thought", "hm")),
        (completion({"content": "Yes.", "reasoning": "hm"}), Reply("Yes.", 9, 3, "stop", "hm")),
        (completion({"content": "Yes", "reasoning_content": "hm"}, "length"), Reply("Yes", 9, 3, "length", "hm")),
        (
            completion({"content": None, "reasoning_content": "hm"}, "length"),
            Reply("", 9, 3, "unfinished_thought", "hm"),
        ),
        (completion({"content": "Yes.", "reasoning": ["hm"], "reasoning_content": 5}), Reply("Yes.", 9, 3, "stop")),
        (thinking_counted(2, "Yes.", "stop"), Reply("Yes.", 9, 3, "stop", None, 2)),
        (thinking_counted(3, "", "length"), Reply("", 9, 3, "unfinished_thought", None, 3)),
        (thinking_counted(10**7, "", "length"), Reply("", 9, 3, "unfinished_thought", None, 3)),
        (thinking_counted("many", "", "length"), Reply("", 9, 3, "length")),
        (completion({"content": []}), Reply("", 9, 3, "no_content")),
        (completion({"content": None}), Reply("", 9, 3, "no_content")),
        (completion({"content": ""}), Reply("", 9, 3, "no_content")),
        (completion({}), Reply("", 9, 3, "no_content")),
        (completion({"content": None}, "length"), Reply("", 9, 3, "length")),
        (completion({"content": None}, None), Reply("", 9, 3, None)),
        (b"\xef\xbb\xbf" + completion({"content": "Yes."}), Reply("Yes.", 9, 3, "stop")),
    ],
)
def test_every_known_shape_is_paid_for_once(body: bytes, reply: Reply):
    replies: list[Reply] = []
    with OpenAiServer(lambda prompt, nth: Raw(body)) as server:
        _, tally = ask(server, some_calls(3), attempts=8, on_reply=lambda call, reply: replies.append(reply))
        assert server.asked.total() == 3
    assert replies == [reply] * 3
    assert (tally.retries, tally.failed, tally.uncertain) == (Counter(), {}, 0)


@pytest.mark.parametrize(
    "content", [5, {"type": "text", "text": "x"}, ["x"], [{"type": "audio"}], [{"type": "text", "text": None}]]
)
def test_a_shape_that_nobody_knows_is_paid_for_once_and_shown(content: Any):
    hostile = f"{KEY} \x1b]0;x\x07 \u202e " + "x" * 5000
    odd = completion({"content": content}, note=hostile)

    def behave(prompt: str, nth: int) -> Any:
        return Raw(odd) if prompt in ("question 1", "question 2") else Answer()

    said: list[str] = []
    budget = Budget(None)
    with OpenAiServer(behave) as server:
        answered, tally = ask(
            server, some_calls(6), at_once=1, attempts=8, say=said.append, price=Price(0, 1000), budget=budget
        )
        assert server.asked.total() == 6
    assert answered == ["0", "3", "4", "5"]
    assert (tally.retries, tally.uncertain, said) == (Counter(), 2, [])
    assert budget.spent == pytest.approx(4 * 0.01 + 2 * 0.02)
    why = tally.failed["1"]
    assert why.startswith("not a chat completion: ")
    assert "what came is " in why and '"content":' in why and "[key]" in why
    assert KEY not in why and why.isprintable() and len(why) < 600


def test_a_server_of_another_language_is_left_at_once():
    with OpenAiServer(lambda prompt, nth: Raw(b'{"output": "Yes."}')) as server:
        with pytest.raises(
            Refused, match=r'not a chat completion: choices is missing; what came is {"output": "Yes."}'
        ):
            ask(server, some_calls(100), attempts=8)
        assert server.asked.total() <= 8


def test_the_error_that_a_gateway_passes_on_in_a_200_has_its_own_status():
    def behave(prompt: str, nth: int) -> Any:
        return Raw(b'{"error": {"code": 502, "message": "upstream is away"}}') if nth == 1 else Answer()

    with OpenAiServer(behave) as server:
        answered, tally = ask(server, some_calls(2))
    assert sorted(answered) == ["0", "1"]
    assert tally.retries == {"status 502": 2}


def test_an_error_behind_the_mark_of_utf_8_is_read():
    class Marking(OpenAiServer):
        def send(self, handler: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
            super().send(handler, status, b"\xef\xbb\xbf" + body, headers)

    def behave(prompt: str, nth: int) -> Any:
        return Error(400, message="flagged", code="content_filter") if prompt == "question 1" else Answer()

    with Marking(behave) as server:
        answered, tally = ask(server, some_calls(3))
    assert (sorted(answered), tally.failed, tally.filtered) == (["0", "2"], {"1": "400 flagged"}, {"1"})


@pytest.mark.shows("S1")
def test_the_key_is_shown_nowhere():
    assert KEY not in repr(Endpoint("http://x", KEY))
    with OpenAiServer(lambda prompt, nth: Answer(f"your key is {KEY}")) as server:
        replies: list[Reply] = []
        Asking(
            Endpoint(server.base_url, KEY),
            OpenAiBatches.dialect,
            lambda call, reply: replies.append(reply),
            price=Price(0, 0),
            budget=Budget(None),
            pacer=Pacer(),
            at_once=1,
            attempts=1,
            say=print,
        ).ask_all(some_calls(1))
    assert replies[0].text == "your key is [key]"


@pytest.mark.parametrize("body", [None, [], {}, {"choices": []}, {"choices": [{"message": {"content": 5}}]}, "x", 7])
def test_what_is_no_chat_completion(body: Any):
    with pytest.raises(UnknownShape, match="not a chat completion"):
        read_reply(body)


def test_a_list_of_very_many_parts_takes_no_time():
    parts: list[Any] = [{"type": "refusal", "refusal": "n"}, {"type": "text", "text": "y"}] * 50_000
    started = time.monotonic()
    assert read_reply({"choices": [{"message": {"content": parts}}]}).text == "y" * 50_000
    assert time.monotonic() - started < 5


def test_tokens_are_estimated_where_the_server_counts_none():
    (call,) = some_calls(1)
    message = {"content": None, "refusal": "I will not."}
    assert read_reply({"choices": [{"message": message}]}, call) == Reply("I will not.", 4, 4, "refusal")
    usage: dict[str, Any] = {"prompt_tokens": "many", "completion_tokens": True}
    assert read_reply({"choices": [{"message": {"content": ""}}], "usage": usage}, call) == Reply("", 4, 0)
    usage = {"prompt_tokens": 10**400, "completion_tokens": -1}
    assert read_reply({"choices": [{"message": {"content": ""}}], "usage": usage}, call) == Reply("", 4, 0)


def test_what_is_sent():
    assert chat_call("id", "m", "text", 9, "openai", 0.0).body == {
        "model": "m",
        "messages": [{"role": "user", "content": "text"}],
        "max_completion_tokens": 9,
        "temperature": 0.0,
    }
