"""Send many calls as one batch, which costs half and takes up to a day: submit once, wait, collect; killed or not.

A small state file carries a batch over the death of its process. It is written before the batch is submitted, with a
random mark that the batch bears, and again when the server has said the batch's name. A process that finds the
first and not the second asks the server for a batch with that mark before it submits anything. What the services do
differently is in openai.py and anthropic.py.
"""

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import quote

from msgspec import Meta

from sciriff.models.api.calls import Call, CallFailed, Dialect, Refused, Reply, Sent, Tally, UnknownShape, verdict
from sciriff.models.api.endpoint import Endpoint, Response, request
from sciriff.models.api.limits import backoff
from sciriff.models.api.transport import NoAnswer
from sciriff.run.typed_json import read_json, typed
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole

PAGE = 100
"""Batches that the server lists at a time."""
MOST_PAGES = 100

T = TypeVar("T")


@dataclass(frozen=True)
class BatchState:
    """A batch as the state file has it."""

    mark: str
    prepared: str
    """OpenAI: the file of calls; Anthropic: the newest batch before this one."""
    batch: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._:-]*$")] | None = None
    """Name at the server; None from just before it is submitted until the server has answered."""
    calls: int = 0
    sent: tuple[Sent, ...] = ()
    """Its calls. A batch may be collected by a process that asks for something else; none in older files."""


def read_state(path: Path) -> BatchState | None:
    """The batch in flight, if there is one. UserError for a file that does not say so."""
    known = "a batch in flight"
    return read_json(path, BatchState, known, "look it up at the server") if path.is_file() else None


def write_state(path: Path, state: BatchState) -> BatchState:
    """Write the state whole, on the disk before this returns."""
    write_whole(path, json.dumps(asdict(state)), durable=True)
    return state


@dataclass
class Batch:
    """The fields of a batch that are read, at either service."""

    id: str
    metadata: Any = None
    request_counts: dict[str, int] | None = None
    errors: Any = None
    status: str | None = None  # OpenAI's
    processing_status: str | None = None  # Anthropic's
    output_file_id: str | None = None
    error_file_id: str | None = None


@dataclass
class Page:
    data: list[Batch]
    has_more: bool | None = None


@dataclass
class Batches(ABC):
    """The batch interface of one server, for one batch at a time."""

    endpoint: Endpoint
    state_file: Path
    attempts: int
    poll_seconds: float
    say: Callable[[str], None]

    dialect: ClassVar[Dialect]
    most_calls: ClassVar[int]
    """Calls in one batch, by the service's rules."""
    most_bytes: ClassVar[int]
    """Bytes of one batch as it is sent."""
    path: ClassVar[str]
    after_name: ClassVar[str]
    """The parameter that continues a list after a batch."""

    @abstractmethod
    def item(self, call: Call, mark: str) -> dict[str, Any]:
        """A call as one item of a batch."""

    @abstractmethod
    def prepare(self, items: Sequence[dict[str, Any]]) -> str:
        """Prepare a batch, which costs nothing. Returns BatchState.prepared."""

    @abstractmethod
    def creation(self, state: BatchState, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The body of the request that makes the batch."""

    @abstractmethod
    def find(self, state: BatchState) -> str | None:
        """The name of the batch that was made with this state, if there is one."""

    @abstractmethod
    def status(self, batch: Batch) -> tuple[str, bool]:
        """How far a batch is, in words, and whether it has ended."""

    @abstractmethod
    def results(self, batch: Batch) -> Iterator[str]:
        """The lines of an ended batch's result."""

    @abstractmethod
    def outcome(self, row: Any) -> tuple[str, int, Any] | None:
        """A line of the result: the call's name, and the status and body of the response that a single call would have
        had; None for a call that was not made. ValueError for a line that says nothing of any call."""

    def name_of(self, call: Sent, mark: str) -> str:
        """Name of a call in a batch."""
        return call.id

    def collect_earlier(self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], object]) -> Tally:
        """Collect the batch that an earlier process submitted, if there is one. All its answers are paid for, so all
        are handed on, whether `calls` ask for them or not, some perhaps for the second time. In the tally are those of
        `calls` that the server refused, but not those without an answer."""
        tally = Tally()
        if in_flight := self._resume():
            self._collect(in_flight, in_flight.sent or calls, on_reply, tally)
        asked = {call.id for call in calls}
        failed = {id: why for id, why in tally.failed.items() if id in asked}
        return Tally(failed, tally.filtered & asked)

    def answer(self, calls: Sequence[Call], on_reply: Callable[[Sent, Reply], object]) -> Tally:
        """Have all calls answered, in several batches where they do not fit one, after `collect_earlier`. Calls without
        an answer are in the tally. Refused where the server has no batches or does not answer."""
        tally = Tally()
        parts = self._parts(calls)
        for number, part in enumerate(parts):
            answered, reason = self._collect(self._submit(part), part, on_reply, tally)
            for call in part:
                if call.id not in answered:
                    tally.failed.setdefault(call.id, reason)
            if not answered:
                later = chain.from_iterable(parts[number + 1 :])
                tally.failed |= {call.id: f"not submitted, for {reason}" for call in later}
                break
        return tally

    def _resume(self) -> BatchState | None:
        """The batch that an earlier process submitted and did not collect, if there is one."""
        state = read_state(self.state_file)
        if state is None or state.batch is not None:
            return state
        # looked for twice: the server may still be at work on what a process sent as it was killed
        for pause in (0.0, self.poll_seconds):
            time.sleep(pause)
            if found := self.find(state):
                return write_state(self.state_file, replace(state, batch=found))
        self.state_file.unlink()
        return None

    def _submit(self, calls: Sequence[Call]) -> BatchState:
        """Submit a batch. Refused where the server has no such interface, or is silent."""
        mark = secrets.token_hex(16)
        items = [self.item(call, mark) for call in calls]
        state = BatchState(mark, self.prepare(items), calls=len(calls), sent=tuple(call.sent for call in calls))
        write_state(self.state_file, state)
        return write_state(self.state_file, replace(state, batch=self._create(state, self.creation(state, items))))

    def _create(self, state: BatchState, body: dict[str, Any]) -> str:
        """Make the batch. If the server's answer is lost or unclear, wait and look for it before making another."""
        for attempt in range(1, self.attempts + 1):
            pause = 0.0
            try:
                return self.read_id(self._request("POST", self.path, body))
            except NoAnswer as error:
                why, pause = str(error), error.retry_after or 0.0
            except Refused as error:
                why = str(error)
                if error.status is not None:
                    if error.status < 500:
                        self.state_file.unlink()  # a clear no, so nothing is in flight
                    raise
            time.sleep(max(pause, backoff(attempt), self.poll_seconds))
            if found := self.find(state):
                return found
        raise Refused(f"{self.endpoint.base_url}: the batch cannot be submitted: {why}")

    def _collect(
        self, state: BatchState, calls: Sequence[Sent], on_reply: Callable[[Sent, Reply], object], tally: Tally
    ) -> tuple[set[str], str]:
        """Wait until the batch has ended, hand on every answer, and remove its state file. Returns the ids of the
        answered calls, and why any other was not; refused ones are in `tally.failed`. UserError for a broken result,
        after its readable lines were handed on; the state file stays, since the rest may be paid for."""
        by_name = {self.name_of(call, state.mark): call for call in calls}
        batch = self.wait(str(state.batch))
        answered: set[str] = set()
        broken: list[str] = []
        for line in filter(str.strip, self.results(batch)):
            try:
                found = self.outcome(self.endpoint.parse(line))
            except ValueError as error:
                broken.append(f"{type(error).__name__}: {error}")
                continue
            call = by_name.get(found[0]) if found else None
            if found is None or call is None or call.id in answered:
                continue
            outcome = self._reply(call, *found[1:])
            if isinstance(outcome, Reply):
                answered.add(call.id)
                on_reply(call, outcome)
            else:
                tally.give_up(call.id, f"in the batch: {outcome}", isinstance(outcome, CallFailed) and outcome.filtered)
        if broken:
            raise UserError(
                f"{self.endpoint.base_url}: {len(broken)} lines of the batch's result are broken ({broken[0]}); run "
                f"again to fetch it again, or remove {self.state_file} to ask anew for what is missing"
            )
        self.state_file.unlink()
        ended = f"the batch {state.batch} has {self.status(batch)[0]} without an answer to it"
        return answered, f"{ended}{_first_error(batch.errors)}"

    def _reply(self, call: Sent, status: int, body: Any) -> Reply | Exception:
        """The answer to a call of a batch, or why there is none."""
        if status == 200:
            try:
                return self.dialect.read_reply(body, call)
            except UnknownShape as error:
                return error
        return verdict(Response(status, {}, json.dumps(body), self.endpoint))

    def _parts(self, calls: Sequence[Call]) -> list[list[Call]]:
        """Split the calls into batches that the service takes. UserError for a call that fits none."""
        parts: list[list[Call]] = []
        size = 0
        for call in calls:
            more = len(json.dumps(self.item(call, "0" * 32))) + 1  # as long as with the mark
            if more > self.most_bytes:
                raise UserError(f"a prompt of {more:,} bytes does not fit a batch of {self.most_bytes:,}")
            if not parts or len(parts[-1]) == self.most_calls or size + more > self.most_bytes:
                parts.append([])
                size = 0
            parts[-1].append(call)
            size += more
        return parts

    def listed(self) -> Iterator[Batch]:
        """All batches that the server has, the newest first."""
        after = ""
        for _ in range(MOST_PAGES):
            page = self._read(self.ask("GET", f"{self.path}?limit={PAGE}{after}"), Page)
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = f"&{self.after_name}={quote(page.data[-1].id, safe='')}"
        raise Refused(f"{self.endpoint.base_url}: no end of batches; look there for the one of {self.state_file}")

    def wait(self, name: str, remark: str = "") -> Batch:
        """The batch as the server describes it once it has ended."""
        said = None
        while True:
            try:
                text = self.ask("GET", f"{self.path}/{quote(name, safe='')}")
                batch = self._read(text, Batch)
                if not (batch.status or batch.processing_status):
                    raise self._odd(text)
            except Refused as error:
                raise Refused(f"{error}; {self.state_file} is about a batch in flight there ({name})") from None
            status, ended = self.status(batch)
            if status != said:
                self.say(f"batch {name}: {status}{'' if ended else remark}")
                said = status
            if ended:
                return batch
            time.sleep(self.poll_seconds)

    def ask(self, method: str, path: str, *content: Any) -> str:
        """The body of the response to a request that may safely be made again."""
        for attempt in range(1, self.attempts + 1):
            try:
                return self._request(method, path, *content)
            except NoAnswer as error:
                why = str(error)
                if attempt < self.attempts:
                    time.sleep(max(error.retry_after or 0.0, backoff(attempt)))
        raise Refused(f"{self.endpoint.base_url}{path.partition('?')[0]}: {why} (after {self.attempts} attempts)")

    def _request(self, method: str, path: str, *content: Any) -> str:
        """The body of the response to one request. NoAnswer where it may be made again, Refused where it may not."""
        response = request(self.endpoint, method, path, *content)
        if response.good:
            return response.text
        error = verdict(response)
        raise Refused(f"{self.endpoint.base_url}: {error}", response.status) if isinstance(error, CallFailed) else error

    def _read(self, text: str, kind: type[T]) -> T:
        """Parse what the server sent as `kind`."""
        try:
            return typed(self.endpoint.parse(text), kind)
        except ValueError:
            raise self._odd(text) from None

    def read_id(self, text: str) -> str:
        """The id of an object that the server sent."""
        return self._read(text, Batch).id

    def _odd(self, text: str) -> Refused:
        return Refused(f"{self.endpoint.base_url}: not what a batch interface answers: {text[:80]!r}")


def _first_error(errors: Any) -> str:
    """The first error of a failed batch, as the server says it."""
    try:
        return f": {errors['data'][0]['message']}"
    except (TypeError, LookupError):
        return ""
