"""Make many calls of a model at once: every answer is handed on as it comes, failures are retried."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sciriff.models.api.endpoint import SHOWN, Endpoint, Response, request
from sciriff.models.api.limits import LONGEST_RETRY_AFTER, Budget, Pacer, backoff, retry_after
from sciriff.models.api.prices import Price
from sciriff.models.api.transport import NoAnswer
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

AGAIN = (408, 409, 425, 429)
"""Statuses below 500 after which the same call may succeed. Of the others all do, Anthropic's 529 (overloaded) too."""
NO_MONEY = ("insufficient_quota", "enforced_spend_limit_reached")
"""Codes of a 429 that no waiting fixes, OpenAI's and Anthropic's."""
NO_CREDIT = "credit balance is too low"
"""In the message of Anthropic's 400 to an account without money."""
FILTERED = ("content_filter", "content_policy_violation", "invalid_prompt")
"""Codes of a 400 to a prompt that a filter holds back: Azure's, OpenAI's, and that of its reasoning models."""
FILTERED_OUTPUT = "content filtering policy"
"""In the message of Anthropic's 400 to a prompt whose answer was held back."""
MOST_TOKENS = 10**8
"""Tokens of one call. A larger count is not believed: it would use up every cap, and stay on the disk."""
TEXT_PARTS = ("text", "output_text")
"""Types of the parts of a content that hold an answer's text."""
SILENT_PARTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of parts that an answer without text may consist of."""
HOPELESS = 3
"""Calls in a row that fail after all their attempts, or first calls answered in no shape known: the wrong server, or
one that is down."""
ALL_REFUSED = 20
"""Calls that are refused each for itself, while none at all is answered: what is asked must be wrong."""


class Refused(UserError):
    """The server takes no call of ours: the key, the account, the model or the address is wrong, or it is down."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        """HTTP status of the response that says so."""


class CallFailed(Exception):
    """One call cannot be answered; others may be."""

    def __init__(self, why: str, filtered: bool = False) -> None:
        super().__init__(why)
        self.filtered = filtered
        """Whether a filter held it back."""


class UnknownShape(CallFailed):
    """A whole response that holds no answer in any shape known. It may be paid for, and would come again."""

    def __init__(self, why: str, body: Any) -> None:
        """`why` says what is missing in `body`, the response's JSON without our key."""
        try:
            came = json.dumps(body, ensure_ascii=False)
        except (ValueError, RecursionError):
            came = type(body).__name__
        super().__init__(f"{why}; what came is {visible_line(shortened(came, SHOWN))}")


@dataclass(frozen=True)
class Sent:
    """The part of a call that is needed to take its answer. A batch keeps it for the process that collects it."""

    id: str
    """Ours, unique among the calls of a batch."""
    model: str
    """The server's name for it."""
    input_tokens: int
    """An estimate."""
    about: dict[str, Any]
    """Handed back with the answer. It must survive JSON."""


@dataclass(frozen=True)
class Call(Sent):
    """One question to a model."""

    body: dict[str, Any]
    """The request's JSON."""
    longest: int
    """Tokens that the answer may have, those of thinking included."""

    @property
    def sent(self) -> Sent:
        return Sent(self.id, self.model, self.input_tokens, self.about)

    def most(self, price: Price) -> float:
        """US dollars that the call costs if the answer is as long as it may be."""
        return price.of(self.input_tokens, self.longest)


@dataclass(frozen=True)
class Reply:
    text: str
    """Empty where the model said nothing."""
    input_tokens: int
    output_tokens: int
    finish_reason: str | None = None
    """`stop`, `length`, `no_content`, `unfinished_thought`, `content_filter`, `refusal` or another word of the server;
    None where it says nothing."""
    thought: str | None = None
    """What the model thought, apart from the text, as far as the server tells it."""
    thought_tokens: int | None = None
    """Share of `output_tokens` that it took; None where the server does not tell."""


@dataclass
class Tally:
    """Outcome of calls."""

    failed: dict[str, str] = field(default_factory=dict)
    """Id of a call -> why it has no answer."""
    filtered: set[str] = field(default_factory=set)
    """Ids of failed calls that a filter held back: no other attempt will fare better."""
    retries: Counter[str] = field(default_factory=Counter)
    """Why calls were made again -> how often."""
    unasked: int = 0
    """Calls that the cap on the price did not let through."""
    uncertain: int = 0
    """Attempts that brought no answer and may have cost money."""

    def include(self, other: "Tally") -> None:
        self.failed |= other.failed
        self.filtered |= other.filtered
        self.retries += other.retries
        self.unasked += other.unasked
        self.uncertain += other.uncertain

    def give_up(self, id: str, why: str, filtered: bool) -> None:
        """Note that a call has no answer."""
        self.failed[id] = why
        if filtered:
            self.filtered.add(id)


@dataclass(frozen=True)
class Dialect:
    """Differences between the services in a single call."""

    path: str
    read_reply: Callable[[Any, Sent], Reply]
    """The answer in a response's JSON. UnknownShape where there is none."""
    conversation: Callable[[Sequence[Message]], dict[str, Any]]
    """The keys of a request that hold a conversation."""


def believed(usage: Any, name: str, estimated: int) -> int:
    """A number of tokens that a server told, or the estimate where it cannot be one."""
    counted = usage.get(name) if isinstance(usage, dict) else None
    return counted if type(counted) is int and 0 <= counted <= MOST_TOKENS else estimated


def counted_in(usage: Any, name: str) -> int | None:
    """A number of tokens that a server told, possibly inside of another object (`outer.inner`); None without one."""
    outer, _, inner = name.rpartition(".")
    if outer:
        usage = usage.get(outer) if isinstance(usage, dict) else None
    counted = believed(usage, inner, -1)
    return counted if counted >= 0 else None


def thought_of(parts: Sequence[Any]) -> str | None:
    """The text of a content's thinking parts, empty where they show none; None without such a part."""
    silent = [part for part in parts if isinstance(part, dict) and part.get("type") in SILENT_PARTS]
    texts: list[Any] = []
    for part in silent:
        inner = part.get("thinking") or part.get("text")  # a text, of Mistral's API a list of text parts
        texts += [one.get("text") for one in inner if isinstance(one, dict)] if isinstance(inner, list) else [inner]
    return "".join(text for text in texts if isinstance(text, str)) if silent else None


def text_of(parts: Sequence[Any]) -> str:
    """The text of a content's text parts. ValueError where there are parts, and none that an answer may consist of."""
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    texts = [part.get("text") for part, kind in zip(parts, kinds, strict=True) if kind in TEXT_PARTS]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text part of its content has no text")
    if parts and not texts and not any(kind in SILENT_PARTS for kind in kinds):
        raise ValueError("its content has no text part")
    return "".join(texts)


def ended(text: str, finish_reason: str | None, thought: bool = False) -> str | None:
    """Why an answer ended: `stop` that follows no text at all has a name of its own, and so has the limit where the
    model has `thought` and not begun to answer."""
    if text:
        return finish_reason
    if finish_reason == "length" and thought:
        return UNFINISHED_THOUGHT
    return NO_CONTENT if finish_reason == "stop" else finish_reason


@dataclass
class Asking:
    """Calls to one server, `at_once` at a time, each made up to `attempts` times. Threads share it.

    `on_reply` gets each answer before the thread makes its next call, one at a time: what it writes to the disk
    is there before the next question is asked. When the budget does not allow another call, the ones in flight are
    finished and the rest is counted as unasked. Refused ends everything, after the calls in flight; Ctrl-C at once,
    but never in the middle of `on_reply`. `say` gets a line for each first trouble of its kind.
    """

    endpoint: Endpoint
    dialect: Dialect
    on_reply: Callable[[Sent, Reply], None]
    price: Price
    budget: Budget
    pacer: Pacer
    at_once: int
    attempts: int
    say: Callable[[str], None]
    _tally: Tally = field(default_factory=Tally)
    _stop: threading.Event = field(default_factory=threading.Event)
    """No call is made any more; those in flight are finished."""
    _abandoned: bool = False
    """Nobody wants the answers of those any more, either."""
    _error: BaseException | None = None
    """The first that ended a thread."""
    _in_a_row: int = 0
    """Calls given up since the last success."""
    _answered: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_all(self, calls: Iterable[Call]) -> Tally:
        """Make all calls, once for each object of this class."""
        todo = iter(calls)
        # daemons, for Python's exit waits for all others, and so would Ctrl-C for a server that says nothing
        threads = [threading.Thread(target=self._work, args=(todo,), daemon=True) for _ in range(self.at_once)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            with self._lock:
                self._abandoned = True
            raise
        if self._error is not None:
            raise self._error
        return self._tally

    def _work(self, todo: Iterator[Call]) -> None:
        """One thread: call after call, until there is none or another thread has met its end."""
        try:
            while not self._stop.is_set():
                with self._lock:
                    call = next(todo, None)
                if call is None:
                    return
                self._answer(call)
        except BaseException as error:
            self._error = self._error or error
            self._stop.set()

    def _answer(self, call: Call) -> None:
        """Make one call and account for it. Refused when the server must be down."""
        try:
            reply = self._ask(call)
        except _OverBudget:
            with self._lock:
                self._tally.unasked += 1
        except CallFailed as error:
            with self._lock:
                self._tally.give_up(call.id, str(error), error.filtered)
                odd = isinstance(error, UnknownShape)
                self._in_a_row += isinstance(error.__cause__, NoAnswer) or (odd and not self._answered)
                refused = len(self._tally.failed) - len(self._tally.filtered)
                if self._in_a_row >= HOPELESS or (refused >= ALL_REFUSED and not self._answered):
                    raise Refused(f"{self.endpoint.base_url} gives no answers: {error}") from None
        else:
            with self._lock:
                self._in_a_row, self._answered = 0, True
                if not self._abandoned:
                    self.on_reply(call, reply)

    def _ask(self, call: Call) -> Reply:
        """Make one call until it is answered. CallFailed when it cannot be or the work stops; Refused when none can."""
        for attempt in range(1, self.attempts + 1):
            if not self.pacer.wait(self._stop, call.input_tokens + call.longest):
                raise CallFailed("stopped before it was answered")
            try:
                return self._attempt(call)
            except NoAnswer as error:
                if attempt == self.attempts:
                    raise CallFailed(f"{error} (after {attempt} attempts)") from error
                self._note_retry(error)
                if self._stop.wait(max(error.retry_after or 0.0, backoff(attempt))):
                    raise CallFailed(f"{error}; stopped before it was answered") from None
        raise AssertionError("attempts is at least 1")

    def _note_retry(self, error: NoAnswer) -> None:
        if error.retry_after:
            self.pacer.pause(error.retry_after)
        with self._lock:
            self._tally.retries[error.kind] += 1
            if self._tally.retries[error.kind] == 1:
                asks = f", and it asks for {error.retry_after:.0f} s of patience" if error.retry_after else ""
                self.say(f"{self.endpoint.base_url}: {error}{asks}; such calls are made again")

    def _attempt(self, call: Call) -> Reply:
        """Make one call once. Without an answer, what may have been paid counts as the most that the call can cost."""
        most = call.most(self.price)
        if not self.budget.reserve(most):
            raise _OverBudget
        cost = 0.0
        try:
            response = request(self.endpoint, "POST", self.dialect.path, call.body)
            if not response.good:
                raise verdict(response)
            try:
                body = response.json()
            except ValueError as error:
                raise NoAnswer(f"the response is broken ({error})", "broken response") from None
            if (status := inner_status(body)) is not None:
                raise verdict(replace(response, status=status))
            reply = self.dialect.read_reply(body, call)
            cost = self.price.of(reply.input_tokens, reply.output_tokens)
            return reply
        except NoAnswer as error:
            if error.may_cost:
                cost = most
                with self._lock:
                    self._tally.uncertain += 1
            raise
        except UnknownShape:
            cost = most
            with self._lock:
                self._tally.uncertain += 1
            raise
        finally:
            self.budget.settle(most, cost)


class _OverBudget(Exception):
    """The cap does not allow this call."""


def inner_status(body: Any) -> int | None:
    """Status of the error that a gateway passes on inside a 200; None where there is none."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int and 400 <= code <= 599 else None


def verdict(response: Response) -> NoAnswer | CallFailed | Refused:
    """The error that a response's status means."""
    why, status, code = response.message(), response.status, response.code()
    pause = retry_after(response.headers)
    if status in AGAIN or status >= 500:
        if pause is not None and pause > LONGEST_RETRY_AFTER:
            why += f" (and no call for {pause:.3g} s)"
        elif code not in NO_MONEY:
            return NoAnswer(why, f"status {status}", may_cost=False, retry_after=pause)
    elif status in (400, 413, 422) and NO_CREDIT not in why:
        return CallFailed(why, filtered=code in FILTERED or FILTERED_OUTPUT in why)
    elif 300 <= status < 400:
        why += " (a redirect, which is not followed, since it would get the key)"
    return Refused(f"{response.endpoint.base_url}: {why}", status)
