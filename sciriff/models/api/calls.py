"""Ask a model behind a server many things at once: every answer is handed on as it comes, every failure retried."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sciriff.models.api.limits import LONGEST_RETRY_AFTER, Budget, Pacer, backoff, estimated_tokens, retry_after
from sciriff.models.api.prices import Price
from sciriff.models.api.transport import Endpoint, Response, Unreachable, request
from sciriff.run.user_error import UserError

AGAIN = (408, 409, 425, 429)
"""Statuses below 500 after which the same call may succeed. Of the others all do, Anthropic's 529 (overloaded) too."""
NO_MONEY = ("insufficient_quota", "enforced_spend_limit_reached")
"""The codes of a 429 that no waiting mends, OpenAI's and Anthropic's."""
NO_CREDIT = "credit balance is too low"
"""In the message of Anthropic's 400 to an account without money."""
FILTERED = ("content_filter", "content_policy_violation", "invalid_prompt")
"""The codes of a 400 to a prompt that a filter holds back: Azure's, OpenAI's, and that of its reasoning models."""
FILTERED_OUTPUT = "content filtering policy"
"""In the message of Anthropic's 400 to a prompt whose answer was held back."""
MOST_TOKENS = 10**8
"""Of one call. A server that counts more is not believed: its number would use up every cap, and stay on the disk."""
HOPELESS = 3
"""Calls that fail one after the other after all their attempts, with no success between: the server is down."""
ALL_REFUSED = 20
"""Calls that are refused each for itself, while none at all is answered: what is asked must be wrong."""


class Refused(UserError):
    """The server takes no call of ours: the key, the account, the model or the address is wrong, or it is down."""


class CallFailed(Exception):
    """One call cannot be answered; others may be."""

    def __init__(self, why: str, filtered: bool = False) -> None:
        super().__init__(why)
        self.filtered = filtered
        """Whether a filter held it back."""


@dataclass(frozen=True)
class Sent:
    """What is needed of a call to take its answer. A batch keeps it, so that another process can."""

    id: str
    """Ours, unique among the calls of a batch."""
    model: str
    """The server's name for it."""
    input_tokens: int
    """An estimate."""
    about: dict[str, Any]
    """What whoever asks wants to know when the answer comes. It must survive JSON."""


@dataclass(frozen=True)
class Call(Sent):
    """One question to a model."""

    body: dict[str, Any]
    """What the server gets."""
    longest: int
    """Tokens that the answer may have, and those that are thought before it."""

    @property
    def sent(self) -> Sent:
        """What is kept of it once it is on its way."""
        return Sent(self.id, self.model, self.input_tokens, self.about)

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
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`, `refusal` or another word of the server; None where it says nothing."""


@dataclass
class Tally:
    """What became of calls."""

    failed: dict[str, str] = field(default_factory=dict)
    """Id of a call -> why it has no answer."""
    filtered: set[str] = field(default_factory=set)
    """Those of them that a filter held back: no other attempt will fare better."""
    retries: Counter[str] = field(default_factory=Counter)
    """Why calls were made again -> how often."""
    unasked: int = 0
    """Calls that the cap on the price did not let through."""
    uncertain: int = 0
    """Attempts that brought no answer and may have cost money."""

    def include(self, other: "Tally") -> None:
        """Count the calls of another tally, too."""
        self.failed |= other.failed
        self.filtered |= other.filtered
        self.retries += other.retries
        self.unasked += other.unasked
        self.uncertain += other.uncertain

    def give_up(self, id: str, error: CallFailed) -> None:
        """Note that a call has no answer."""
        self.failed[id] = str(error)
        if error.filtered:
            self.filtered.add(id)


@dataclass(frozen=True)
class Dialect:
    """What the services say differently."""

    path: str
    """Where a single question goes."""
    read_reply: Callable[[Any, Sent], Reply]
    """The answer in what comes back, as JSON. UserError where there is none."""


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
    """A call with one user message, as all services take it. `limit_name` is what the server calls the limit on an
    answer's tokens: OpenAI max_completion_tokens, all others max_tokens. No temperature is the server's own, and models
    that think take no other. `more` has further keys, such as thinking."""
    # No request can hold a lone surrogate; a question mark stands for it.
    content = text.encode("utf-8", "replace").decode()
    body = {"model": model, "messages": [{"role": "user", "content": content}], limit_name: longest}
    if temperature is not None:
        body["temperature"] = temperature
    return Call(id, model, estimated_tokens(text), dict(about or {}), {**body, **(more or {})}, longest)


def believed(usage: Any, name: str, estimated: int) -> int:
    """A number of tokens that a server told, or the estimate where it cannot be one."""
    counted = usage.get(name) if isinstance(usage, dict) else None
    return counted if type(counted) is int and 0 <= counted <= MOST_TOKENS else estimated


def ask_all(
    endpoint: Endpoint,
    dialect: Dialect,
    calls: Iterable[Call],
    on_reply: Callable[[Sent, Reply], None],
    *,
    price: Price,
    budget: Budget,
    pacer: Pacer,
    at_once: int,
    attempts: int,
    say: Callable[[str], None],
) -> Tally:
    """Make all calls, `at_once` at a time, each up to `attempts` times.

    `on_reply` gets each answer before the thread that made the call goes on, one at a time: what it writes to the disk
    is there before the next question is asked. When the budget does not allow another call, the ones under way are
    finished and the rest is counted as unasked. Refused ends everything, after the calls under way; Ctrl-C at once,
    but never in the middle of `on_reply`. `say` gets a line for each first trouble of its kind.
    """
    _ = endpoint.connection  # here, for what it lacks is no thread's business
    work = _Work(endpoint, dialect, iter(calls), on_reply, price, budget, pacer, attempts, say)
    # daemons, for Python's exit waits for all others, and so would Ctrl-C for a server that says nothing
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(at_once)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        work.stop.set()
        with work.lock:
            work.abandoned = True
        raise
    if work.error is not None:
        raise work.error
    return work.tally


@dataclass
class _Work:
    """What the threads of `ask_all` share."""

    endpoint: Endpoint
    dialect: Dialect
    todo: Iterator[Call]
    on_reply: Callable[[Sent, Reply], None]
    price: Price
    budget: Budget
    pacer: Pacer
    attempts: int
    say: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    stop: threading.Event = field(default_factory=threading.Event)
    """No call is made any more; those under way are finished."""
    abandoned: bool = False
    """Nobody wants the answers of those any more, either."""
    error: BaseException | None = None
    """The first that ended a thread."""
    in_a_row: int = 0
    """Calls given up since the last success."""
    answered: bool = False
    """Whether any call was."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """One thread: call after call, until there is none or another thread has met its end."""
        try:
            while not self.stop.is_set():
                with self.lock:
                    call = next(self.todo, None)
                if call is None:
                    return
                self.answer(call)
        except BaseException as error:
            self.error = self.error or error
            self.stop.set()

    def answer(self, call: Call) -> None:
        """Make one call and account for it. Refused when so many in a row failed that the server must be down."""
        try:
            reply = self.ask(call)
        except _OverBudget:
            with self.lock:
                self.tally.unasked += 1
        except CallFailed as error:
            with self.lock:
                self.tally.give_up(call.id, error)
                self.in_a_row += isinstance(error.__cause__, Unreachable)
                refused = len(self.tally.failed) - len(self.tally.filtered)
                if self.in_a_row >= HOPELESS or (refused >= ALL_REFUSED and not self.answered):
                    raise Refused(f"{self.endpoint.base_url} gives no answers: {error}") from None
        else:
            with self.lock:
                self.in_a_row, self.answered = 0, True
                if not self.abandoned:
                    self.on_reply(call, reply)

    def ask(self, call: Call) -> Reply:
        """Make one call until it is answered. CallFailed when it cannot be, or when the work stops between attempts;
        Refused when no call can be."""
        for attempt in range(1, self.attempts + 1):
            if not self.pacer.wait(self.stop, call.input_tokens + call.longest):
                raise CallFailed("stopped before it was answered")
            pause: float | None = None
            cause: Exception | None = None
            try:
                found = self.attempt(call)
                if isinstance(found, Reply):
                    return found
                why, pause, short = verdict(found, self.endpoint), retry_after(found.headers), f"status {found.status}"
            except Unreachable as error:
                why, short, cause = str(error), "no response", error
            except _Broken as error:
                why, short = f"the response is broken ({error})", "broken response"
            if attempt == self.attempts:
                raise CallFailed(f"{why} (after {attempt} attempts)") from (cause or Unreachable(why))
            if pause is not None:
                self.pacer.pause(pause)
            with self.lock:
                self.tally.retries[short] += 1
                if self.tally.retries[short] == 1:
                    asks = f", and it asks for {pause:.0f} s of patience" if pause else ""
                    self.say(f"{self.endpoint.base_url}: {why}{asks}; such calls are made again")
            if self.stop.wait(max(pause or 0.0, backoff(attempt))):
                raise CallFailed(f"{why}; stopped before it was answered")
        raise AssertionError("attempts is at least 1")

    def attempt(self, call: Call) -> Reply | Response:
        """Make one call once: its answer, or the response that refuses one. Unreachable, or _Broken for an answer that
        is none: these may have been paid for, so they count as the most that the call can cost."""
        most = call.most(self.price)
        if not self.budget.reserve(most):
            raise _OverBudget
        cost, certain = 0.0, True
        try:
            response = request(self.endpoint, "POST", self.endpoint.path_of(self.dialect.path), call.body)
            if not response.good:
                return response
            try:
                reply = self.dialect.read_reply(response.json(), call)
            except ValueError as error:
                certain = False
                raise _Broken(str(error)) from None
            cost = self.price.of(reply.input_tokens, reply.output_tokens)
            return reply
        except Unreachable as error:
            certain = not error.sent
            raise
        finally:
            self.budget.settle(most, cost if certain else most)
            with self.lock:
                self.tally.uncertain += not certain


class _OverBudget(Exception):
    """The cap does not allow this call."""


class _Broken(Exception):
    """A server took a call and sent no answer to it."""


def verdict(response: Response, endpoint: Endpoint) -> str:
    """Why a call that ended in this status is to be made again. CallFailed or Refused where it is not."""
    why = response.message()
    status = response.status
    pause = retry_after(response.headers) or 0.0
    if status in AGAIN or status >= 500:
        if pause > LONGEST_RETRY_AFTER:
            raise Refused(f"{endpoint.base_url}: {why} (and no call for {pause:.3g} s)")
        if response.code() not in NO_MONEY:
            return why
    if status in (400, 413, 422) and NO_CREDIT not in why:
        raise CallFailed(why, filtered=response.code() in FILTERED or FILTERED_OUTPUT in why)
    if 300 <= status < 400:
        why += " (a redirect, which is not followed, since it would get the key)"
    raise Refused(f"{endpoint.base_url}: {why}")
