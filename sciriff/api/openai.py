"""Ask an OpenAI-compatible server many things at once: every answer is handed on as it comes, every failure retried."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sciriff.api.limits import LONGEST_RETRY_AFTER, Budget, Pacer, Price, backoff, estimated_tokens, retry_after
from sciriff.api.transport import Endpoint, Response, Unreachable, request

CHAT = "/chat/completions"
AGAIN = (408, 409, 425, 429)
"""Statuses below 500 after which the same call may succeed."""
NO_MONEY = "insufficient_quota"
"""The code of a 429 that no waiting mends."""
HOPELESS = 3
"""Calls that fail one after the other after all their attempts, with no success between: the server is down."""


class Refused(ValueError):
    """The server takes no call of ours: the key, the account, the model or the address is wrong, or it is down."""


class CallFailed(Exception):
    """One call cannot be answered; others may be."""


@dataclass(frozen=True)
class Call:
    """One question to a model."""

    id: str
    """Ours, unique among the calls of a batch."""
    body: dict[str, Any]
    """What /chat/completions gets."""
    longest: int
    """Tokens that the answer may have."""

    @property
    def input_tokens(self) -> int:
        """An estimate."""
        return sum(estimated_tokens(message["content"]) for message in self.body["messages"])

    def most(self, price: Price) -> float:
        """US dollars that the call costs if the answer is as long as it may be."""
        return price.of(self.input_tokens, self.longest)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    text: str
    """Empty where the model said nothing."""
    input_tokens: int
    output_tokens: int


@dataclass
class Tally:
    """What became of calls."""

    failed: dict[str, str] = field(default_factory=dict)
    """Id of a call -> why it has no answer."""
    retries: Counter[str] = field(default_factory=Counter)
    """Why calls were made again -> how often."""
    unasked: int = 0
    """Calls that the cap on the price did not let through."""


def chat_call(id: str, model: str, text: str, longest: int, limit_name: str, temperature: float | None) -> Call:
    """A call with one user message. `limit_name` is what the server calls the limit on an answer's tokens: OpenAI
    max_completion_tokens, most others max_tokens. No temperature is the server's own."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], limit_name: longest}
    if temperature is not None:
        body["temperature"] = temperature
    return Call(id, body, longest)


def reply_text(body: Any) -> str:
    """The text of a chat completion's first choice; empty where it said nothing. ValueError for anything else."""
    try:
        message = body["choices"][0]["message"]
        text = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a chat completion") from None
    if text is None:
        text = message.get("refusal") or ""
    if not isinstance(text, str):
        raise ValueError("not a chat completion: its content is not a text")
    return text


def read_reply(body: Any, call: Call) -> Reply:
    """The answer in a chat completion. ValueError where there is none. Tokens that the server does not tell are
    estimated."""
    text = reply_text(body)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
    estimated = call.input_tokens, estimated_tokens(text)
    tokens = [c if type(c) is int and c >= 0 else e for c, e in zip(counted, estimated, strict=True)]
    return Reply(text, *tokens)


def ask_all(
    endpoint: Endpoint,
    calls: Iterable[Call],
    on_reply: Callable[[Call, Reply], None],
    *,
    price: Price,
    budget: Budget,
    pacer: Pacer,
    at_once: int,
    attempts: int,
) -> Tally:
    """Make all calls, `at_once` at a time, each up to `attempts` times.

    `on_reply` gets each answer before the thread that made the call goes on, one at a time: what it writes to the disk
    is there before the next question is asked. When the budget does not allow another call, the ones under way are
    finished and the rest is counted as unasked. Refused ends everything, after the calls under way.
    """
    tally = Tally()
    todo = iter(calls)
    stop = threading.Event()
    lock = threading.Lock()
    in_a_row = 0

    def upcoming() -> Iterator[Call]:
        while not stop.is_set():
            with lock:
                call = next(todo, None)
            if call is None:
                return
            yield call

    def work() -> None:
        nonlocal in_a_row
        for call in upcoming():
            most = call.most(price)
            if not budget.reserve(most):
                with lock:
                    tally.unasked += 1
                continue
            cost = 0.0
            try:
                reply = ask(endpoint, call, pacer, attempts, stop, tally.retries, lock)
                cost = price.of(reply.input_tokens, reply.output_tokens)
                with lock:
                    in_a_row = 0
                    on_reply(call, reply)
            except CallFailed as error:
                with lock:
                    tally.failed[call.id] = str(error)
                    in_a_row += isinstance(error.__cause__, Unreachable)
                    if in_a_row >= HOPELESS:
                        raise Refused(f"{endpoint.base_url} gives no answers: {error}") from None
            finally:
                budget.settle(most, cost)

    def work_or_stop() -> None:
        try:
            work()
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(at_once) as pool:
        workers = [pool.submit(work_or_stop) for _ in range(at_once)]
    for worker in workers:
        worker.result()
    return tally


def ask(
    endpoint: Endpoint,
    call: Call,
    pacer: Pacer,
    attempts: int,
    stop: threading.Event,
    retries: Counter[str],
    lock: threading.Lock,
) -> Reply:
    """Make one call until it is answered. CallFailed when it cannot be, or when `stop` is set between two attempts;
    Refused when no call can be."""
    body = json.dumps(call.body).encode()
    for attempt in range(1, attempts + 1):
        if not pacer.wait(stop):
            raise CallFailed("stopped before it was answered")
        cause: Exception | None = None
        try:
            response = request(endpoint, "POST", CHAT, body)
            if response.status == 200:
                return read_reply(response.json(), call)
            why, pause = verdict(response, endpoint), retry_after(response.headers)
            short = f"status {response.status}"
        except Unreachable as error:
            why, pause, short, cause = str(error), None, "no response", error
        except ValueError as error:
            if isinstance(error, Refused):
                raise
            why, pause, short = f"the response is broken ({error})", None, "broken response"
        if attempt == attempts:
            failure = CallFailed(f"{why} (after {attempts} attempts)")
            raise failure from (cause or Unreachable(why))
        if pause is not None:
            pacer.pause(pause)
        with lock:
            retries[short] += 1
        if stop.wait(max(pause or 0.0, backoff(attempt))):
            raise CallFailed(f"{why}; stopped before it was answered")
    raise AssertionError("attempts is at least 1")


def verdict(response: Response, endpoint: Endpoint) -> str:
    """Why a call that ended in this status is to be made again. CallFailed or Refused where it is not."""
    why = response.message()
    status = response.status
    pause = retry_after(response.headers) or 0.0
    if status == 429 and (response.code() == NO_MONEY or pause > LONGEST_RETRY_AFTER):
        raise Refused(f"{endpoint.base_url}: {why}")
    if status in AGAIN or status >= 500:
        return why
    if status in (400, 413, 422):
        raise CallFailed(why)
    raise Refused(f"{endpoint.base_url}: {why}")
