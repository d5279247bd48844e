"""Send many calls as one batch, which costs half and takes up to a day: submit once, wait, collect; killed or not.

A small state file carries a batch over the death of its process. It is written before the batch is submitted, with a
random mark that the batch bears, and again when the server has said what the batch's name is. A process that finds the
first and not the second asks the server for a batch with that mark before it submits anything. What the services do
differently is in openai.py and anthropic.py.
"""

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from sciriff.models.api.calls import Call, CallFailed, Refused, Reply, Sent, Tally, verdict
from sciriff.models.api.limits import backoff, retry_after
from sciriff.models.api.transport import Endpoint, Response, Unreachable, request
from sciriff.run.typed_json import WrongType, read_json, typed
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole

PAGE = 100
"""Batches that the server lists at a time."""
MOST_PAGES = 100


@dataclass(frozen=True)
class BatchState:
    """What is known of a batch on this side."""

    mark: str
    prepared: str
    """What the service needs to make or to find it: OpenAI the file of calls, Anthropic the newest batch before it."""
    batch: str | None = None
    """Its name at the server; None from just before it is submitted until the server has answered."""
    calls: int = 0
    """How many it has."""
    sent: tuple[Sent, ...] = ()
    """Its calls. A batch may be collected by a process that asks for something else; none in older files."""


def read_state(path: Path) -> BatchState | None:
    """The batch that is under way, if one is. UserError for a file that does not say so."""
    known = "a batch that is under way"
    return read_json(path, BatchState, known, "look it up at the server") if path.is_file() else None


def write_state(path: Path, state: BatchState) -> None:
    """Write it whole, on the disk before this returns."""
    write_whole(path, json.dumps(asdict(state)), durable=True)


class ListedBatch(msgspec.Struct):
    """What is read of any batch in a service's list, those of others included."""

    id: str
    metadata: Any = None
    request_counts: dict[str, int] | None = None
    errors: Any = None


class Page(msgspec.Struct):
    data: list[ListedBatch]
    has_more: bool | None = None


class Named(msgspec.Struct):
    id: str


B = TypeVar("B", bound=ListedBatch)
T = TypeVar("T")


class Batches(ABC, Generic[B]):
    """The batch interface of one server, for one batch at a time. `B` is what is read of a batch."""

    most_calls: int
    """Of one batch, by the service's rules."""
    most_bytes: int
    """Of one batch as it is sent."""
    path: str
    """Where batches are."""
    after_name: str
    """The parameter that continues a list after a batch."""
    kind: type[B]

    def __init__(
        self, endpoint: Endpoint, state_file: Path, attempts: int, poll_seconds: float, say: Callable[[str], None]
    ) -> None:
        self.endpoint = endpoint
        self.state_file = state_file
        self.attempts = attempts
        self.poll_seconds = poll_seconds
        self.say = say

    @abstractmethod
    def item(self, call: Call, mark: str) -> dict[str, Any]:
        """A call as one item of a batch."""

    @abstractmethod
    def prepare(self, items: Sequence[dict[str, Any]]) -> str:
        """What comes before a batch is made, and costs nothing: see BatchState.prepared."""

    @abstractmethod
    def creation(self, state: BatchState, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The body of the request that makes the batch."""

    @abstractmethod
    def find(self, state: BatchState) -> str | None:
        """The name of the batch that was made with this state, if there is one."""

    @abstractmethod
    def status(self, batch: B) -> tuple[str, bool]:
        """How far a batch is, in words, and whether it has ended."""

    @abstractmethod
    def results(self, batch: B) -> Iterator[str]:
        """The lines of an ended batch's result."""

    @abstractmethod
    def result(self, row: Any, by_name: dict[str, Sent]) -> tuple[Sent, Reply | Response] | None:
        """The call that a line of the result is about and what became of it; None where it is none of ours. UserError
        for a line that says nothing of any call."""

    def name_of(self, call: Sent, mark: str) -> str:
        """What a call is called in a batch."""
        return call.id

    def collect_earlier(self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], object]) -> Tally:
        """Collect the batch that an earlier process submitted and did not collect, if there is one: all its answers are
        paid for, so all are handed on, whether today's `calls` ask for them or not, and some perhaps for the second
        time. In the tally are those of `calls` that the server refused; what has merely no answer is in none."""
        tally = Tally()
        under_way = self.resume()
        if under_way is not None:
            self.collect(under_way, under_way.sent or calls, on_reply, tally)
        asked = {call.id for call in calls}
        failed = {id: why for id, why in tally.failed.items() if id in asked}
        return Tally(failed, tally.filtered & asked)

    def answer(self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], object]) -> Tally:
        """Have all calls answered, in one batch after the other where they do not fit one; none may be under way before
        (`collect_earlier`). Calls without an answer are in the tally. Refused where the server has no such interface
        or does not answer."""
        tally = Tally()
        parts = self._parts(calls)
        for number, part in enumerate(parts):
            answered, reason = self.collect(self.submit(part), part, on_reply, tally)
            for call in part:
                if call.id not in answered:
                    tally.failed.setdefault(call.id, reason)
            if not answered:
                for call in (call for later in parts[number + 1 :] for call in later):
                    tally.failed[call.id] = f"not submitted, for {reason}"
                break
        return tally

    def resume(self) -> BatchState | None:
        """The batch that an earlier process submitted and did not collect, if there is one."""
        state = read_state(self.state_file)
        if state is None or state.batch is not None:
            return state
        found = self.find(state)
        if found is None:
            # the server may still be at work on what a process sent as it was killed
            time.sleep(self.poll_seconds)
            found = self.find(state)
        if found is None:
            self.state_file.unlink()
            return None
        state = replace(state, batch=found)
        write_state(self.state_file, state)
        return state

    def submit(self, calls: Sequence[Call]) -> BatchState:
        """Submit a batch, where none is under way. Refused where the server has no such interface, or is silent."""
        mark = secrets.token_hex(16)
        items = [self.item(call, mark) for call in calls]
        state = BatchState(mark, self.prepare(items), calls=len(calls), sent=tuple(call.sent for call in calls))
        write_state(self.state_file, state)
        state = replace(state, batch=self._create(state, self.creation(state, items)))
        write_state(self.state_file, state)
        return state

    def collect(
        self, state: BatchState, calls: Sequence[Sent], on_reply: Callable[[Sent, Reply], object], tally: Tally
    ) -> tuple[set[str], str]:
        """Wait until the batch has ended, hand on every answer, and forget the batch. Returns the ids of the calls that
        were answered, and why any other was not; those that were refused are in `tally.failed`. UserError for a result
        that is broken: what of it can be read is handed on before, and the batch is not forgotten, for the rest of it
        may be paid for."""
        by_name = {self.name_of(call, state.mark): call for call in calls}
        batch = self._wait(state)
        answered: set[str] = set()
        broken: list[str] = []
        for line in self.results(batch):
            try:
                if line.strip():
                    self._take(line, by_name, answered, on_reply, tally)
            except _BrokenLine as error:
                broken.append(str(error))
        if broken:
            raise UserError(
                f"{self.endpoint.base_url}: {len(broken)} lines of the batch's result are broken ({broken[0]}); run "
                f"again to fetch it again, or remove {self.state_file} to ask anew for what is missing"
            )
        self.state_file.unlink()
        return (
            answered,
            f"the batch {state.batch} has {self.status(batch)[0]} without an answer to it{_errors(batch.errors)}",
        )

    def _parts(self, calls: Sequence[Call]) -> list[list[Call]]:
        """The calls in as few batches as they fit. UserError for one that fits none."""
        parts: list[list[Call]] = []
        size = 0
        for call in calls:
            # in its place, the mark has the length of any other
            more = len(json.dumps(self.item(call, "0" * 32))) + 1
            if more > self.most_bytes:
                raise UserError(f"a prompt of {more:,} bytes does not fit a batch of {self.most_bytes:,}")
            if not parts or len(parts[-1]) == self.most_calls or size + more > self.most_bytes:
                parts.append([])
                size = 0
            parts[-1].append(call)
            size += more
        return parts

    def _take(
        self,
        line: str,
        by_name: dict[str, Sent],
        answered: set[str],
        on_reply: Callable[[Sent, Reply], object],
        tally: Tally,
    ) -> None:
        """One line of a batch's result."""
        try:
            found = self.result(self.endpoint.parse(line), by_name)
        except ValueError as error:
            raise _BrokenLine(f"{type(error).__name__}: {error}") from None
        if found is None or found[0].id in answered:
            return
        call, outcome = found
        if isinstance(outcome, Reply):
            answered.add(call.id)
            on_reply(call, outcome)
            return
        filtered = False
        try:
            why = verdict(outcome, self.endpoint)
        except CallFailed as error:
            why, filtered = str(error), error.filtered
        except Refused as error:
            why = str(error)
        tally.give_up(call.id, CallFailed(f"in the batch: {why}", filtered))

    def _create(self, state: BatchState, body: dict[str, Any]) -> str:
        """Make the batch. Where the server's answer is lost or says nothing sure, time passes and the batch is looked
        for before another is made."""
        for attempt in range(1, self.attempts + 1):
            why, pause = "", 0.0
            try:
                response = request(self.endpoint, "POST", self.path, body)
            except Unreachable as error:
                why = str(error)
            else:
                if response.good:
                    try:
                        return self.name(response.text)
                    except Refused as error:
                        why = str(error)
                else:
                    try:
                        why = self._verdict(response)
                    except Refused:
                        if response.status < 500:
                            self.state_file.unlink()  # a clear no, so nothing is under way
                        raise
                    pause = retry_after(response.headers) or 0.0
            time.sleep(max(pause, backoff(attempt), self.poll_seconds))
            if found := self.find(state):
                return found
        raise Refused(f"{self.endpoint.base_url}: the batch cannot be submitted: {why}")

    def listed(self) -> Iterator[ListedBatch]:
        """All batches that the server has, the newest first."""
        after = ""
        for _ in range(MOST_PAGES):
            text = self.ask("GET", f"{self.path}?limit={PAGE}{after}")
            page = self.read(text, Page)
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = f"&{self.after_name}={quote(page.data[-1].id, safe='')}"
        raise Refused(f"{self.endpoint.base_url}: no end of batches; look there for the one of {self.state_file}")

    def look(self, name: str) -> B:
        """A batch as the server describes it."""
        return self.read(self.ask("GET", f"{self.path}/{quote(name, safe='')}"), self.kind)

    def _wait(self, state: BatchState) -> B:
        """The batch as the server describes it once it has ended."""
        said = None
        while True:
            try:
                batch = self.look(str(state.batch))
            except Refused as error:
                raise Refused(f"{error}; {self.state_file} says that {state.batch} is under way there") from None
            status, ended = self.status(batch)
            if status != said:
                self.say(f"batch {state.batch}: {status}")
                said = status
            if ended:
                return batch
            time.sleep(self.poll_seconds)

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        file: tuple[str, bytes, str] | None = None,
    ) -> str:
        """The body of the response to a request that may safely be made again."""
        for attempt in range(1, self.attempts + 1):
            try:
                response = request(self.endpoint, method, path, body, file)
                if response.good:
                    return response.text
                why = self._verdict(response)
                pause = retry_after(response.headers) or 0.0
            except Unreachable as error:
                why, pause = str(error), 0.0
            if attempt < self.attempts:
                time.sleep(max(pause, backoff(attempt)))
        raise Refused(f"{self.endpoint.base_url}{path.partition('?')[0]}: {why} (after {self.attempts} attempts)")

    def _verdict(self, response: Response) -> str:
        try:
            return verdict(response, self.endpoint)
        except CallFailed as error:
            raise Refused(f"{self.endpoint.base_url}: {error}") from None

    def read(self, text: str, kind: type[T]) -> T:
        """What the server sent, as this type."""
        try:
            return typed(self.endpoint.parse(text), kind)
        except ValueError:
            raise Refused(f"{self.endpoint.base_url}: not what a batch interface answers: {text[:80]!r}") from None

    def name(self, text: str) -> str:
        """The id of an object that the server sent."""
        return self.read(text, Named).id


class _BrokenLine(Exception):
    """A line of a batch's result that says nothing of any call."""


class BatchError(msgspec.Struct):
    message: str


class BatchErrors(msgspec.Struct):
    data: list[BatchError]


def _errors(errors: Any) -> str:
    """What the server says is wrong with a batch."""
    try:
        found = typed(errors, BatchErrors).data
    except WrongType:
        return ""
    return f": {found[0].message}" if found else ""
