"""Send many calls as one batch, which costs half and takes up to a day: submit once, wait, collect; killed or not.

A small state file carries a batch over the death of its process. It is written before the batch is submitted, with a
random mark that goes into the batch's metadata, and again when the server has said what the batch's name is. A process
that finds the first and not the second asks the server for a batch with that mark before it submits anything.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sciriff.api.limits import backoff, retry_after
from sciriff.api.openai import CHAT, Call, CallFailed, Refused, Reply, Tally, read_reply, verdict
from sciriff.api.transport import LARGEST_FILE, LARGEST_RESPONSE, Endpoint, Response, Unreachable, request

MOST_CALLS = 50_000
"""Of one batch, by OpenAI's rules."""
PAGE = 100
"""Batches that the server lists at a time."""
MOST_PAGES = 100
MARK = "sciriff"
"""The key of our mark in a batch's metadata."""
ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class BatchState:
    """What is known of a batch on this side."""

    mark: str
    input_file: str
    batch: str | None = None
    """Its name at the server; None from just before it is submitted until the server has answered."""


def read_state(path: Path) -> BatchState | None:
    """The batch that is under way, if one is. ValueError for a file that does not say so."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_bytes())
        state = BatchState(**values)
        if not all(isinstance(value, str) for value in (state.mark, state.input_file, state.batch or "")):
            raise TypeError("its values must be texts")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: does not say which batch is under way ({error}); look it up at the server") from None
    return state


def write_state(path: Path, state: BatchState) -> None:
    """Write it whole, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Batches:
    """The batch interface of one server, for one batch at a time."""

    def __init__(
        self, endpoint: Endpoint, state_file: Path, attempts: int, poll_seconds: float, say: Callable[[str], None]
    ) -> None:
        self.endpoint = endpoint
        self.state_file = state_file
        self.attempts = attempts
        self.poll_seconds = poll_seconds
        self.say = say

    def resume(self) -> BatchState | None:
        """The batch that an earlier process submitted and did not collect, if there is one."""
        state = read_state(self.state_file)
        if state is None or state.batch is not None:
            return state
        found = self._find(state.mark)
        if found is None:
            # the server may still be at work on what a process sent as it was killed
            time.sleep(self.poll_seconds)
            found = self._find(state.mark)
        if found is None:
            self.state_file.unlink()
            return None
        state = replace(state, batch=found)
        write_state(self.state_file, state)
        return state

    def submit(self, calls: Sequence[Call]) -> BatchState:
        """Submit a batch; `resume` must have said that none is under way. Refused where the server has no such
        interface or does not answer."""
        if len(calls) > MOST_CALLS:
            raise ValueError(f"{len(calls)} calls do not fit one batch of {MOST_CALLS}; ask them one by one")
        state = BatchState(secrets.token_hex(16), self._upload(calls))
        write_state(self.state_file, state)
        state = replace(state, batch=self._create(state))
        write_state(self.state_file, state)
        return state

    def collect(
        self, state: BatchState, calls: Sequence[Call], on_reply: Callable[[Call, Reply], None], tally: Tally
    ) -> None:
        """Wait until the batch has ended, hand on every answer, and forget the batch. Calls without an answer are in
        `tally.failed`. ValueError for a result that is broken: what of it can be read is handed on before, and the
        batch is not forgotten, for the rest of it may be paid for."""
        by_id = {call.id: call for call in calls}
        batch = self._wait(state)
        files = [batch[key] for key in ("output_file_id", "error_file_id") if isinstance(batch.get(key), str)]
        answered: set[str] = set()
        broken: list[str] = []
        for file in files:
            # not splitlines: a response may hold U+2028 and its like, which JSON does not escape
            content = self._ask("GET", f"/files/{quote(file, safe='')}/content", largest=LARGEST_FILE)
            for line in content.split("\n"):
                try:
                    if line.strip():
                        self._take(line, by_id, answered, on_reply, tally)
                except _BrokenLine as error:
                    broken.append(str(error))
        if broken:
            raise ValueError(
                f"{self.endpoint.base_url}: {len(broken)} lines of the batch's result are broken ({broken[0]}); run "
                f"again to fetch it again, or remove {self.state_file} to ask anew for what is missing"
            )
        reason = f"the batch {state.batch} has {batch['status']} without an answer to it{_errors(batch)}"
        for call in calls:
            if call.id not in answered:
                tally.failed.setdefault(call.id, reason)
        self.state_file.unlink()

    def _take(
        self,
        line: str,
        by_id: dict[str, Call],
        answered: set[str],
        on_reply: Callable[[Call, Reply], None],
        tally: Tally,
    ) -> None:
        """One line of a batch's result. A call that we do not know is one whose answer is no longer wanted."""
        try:
            row = self.endpoint.parse(line)
            call = by_id.get(row["custom_id"])
            response = row.get("response") or {}
            status, body = response.get("status_code", 200 if response else None), response.get("body")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _BrokenLine(f"{type(error).__name__}: {error}") from None
        if call is None or call.id in answered:
            return
        try:
            if status != 200:
                raise ValueError(json.dumps(row.get("error") or body)[:300])
            reply = read_reply(body, call)
        except ValueError as error:
            tally.failed[call.id] = f"in the batch: {status} {error}"
            return
        answered.add(call.id)
        on_reply(call, reply)

    def _upload(self, calls: Sequence[Call]) -> str:
        lines = [
            json.dumps({"custom_id": call.id, "method": "POST", "url": f"/v1{CHAT}", "body": call.body})
            for call in calls
        ]
        body, content_type = _form({"purpose": "batch"}, "calls.jsonl", "\n".join(lines) + "\n")
        return self._name(self._ask("POST", "/files", body, content_type))

    def _create(self, state: BatchState) -> str:
        """Make the batch. Where the server's answer is lost or says nothing sure, time passes and the batch is looked
        for before another is made."""
        body = json.dumps(
            {
                "input_file_id": state.input_file,
                "endpoint": f"/v1{CHAT}",
                "completion_window": "24h",
                "metadata": {MARK: state.mark},
            }
        ).encode()
        for attempt in range(1, self.attempts + 1):
            why, pause = "", 0.0
            try:
                response = request(self.endpoint, "POST", "/batches", body)
            except Unreachable as error:
                why = str(error)
            else:
                if response.good:
                    try:
                        return self._name(response.text)
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
            if found := self._find(state.mark):
                return found
        raise Refused(f"{self.endpoint.base_url}: the batch cannot be submitted: {why}")

    def _find(self, mark: str) -> str | None:
        """The name of the batch with this mark."""
        after = ""
        for _ in range(MOST_PAGES):
            text = self._ask("GET", f"/batches?limit={PAGE}{after}")
            listed = self._object(text)
            batches = listed.get("data")
            if not isinstance(batches, list) or not all(_is_batch(batch) for batch in batches):
                raise self._odd(text)
            for batch in batches:
                metadata = batch.get("metadata")
                if isinstance(metadata, dict) and metadata.get(MARK) == mark:
                    found: str = batch["id"]
                    return found
            if not listed.get("has_more") or not batches:
                return None
            after = f"&after={quote(batches[-1]['id'], safe='')}"
        raise Refused(f"{self.endpoint.base_url}: no end of batches; look there for the one with {MARK}={mark}")

    def _wait(self, state: BatchState) -> dict[str, Any]:
        """The batch as the server describes it once it has ended."""
        said = None
        while True:
            try:
                text = self._ask("GET", f"/batches/{quote(str(state.batch), safe='')}")
                batch = self._object(text)
            except Refused as error:
                raise Refused(f"{error}; {self.state_file} says that {state.batch} is under way there") from None
            if not isinstance(batch.get("status"), str):
                raise self._odd(text)
            counts = batch.get("request_counts")
            counts = counts if isinstance(counts, dict) else {}
            status = f"{batch['status']}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
            if status != said:
                self.say(f"batch {state.batch}: {status}")
                said = status
            if batch["status"] in ENDED:
                return batch
            time.sleep(self.poll_seconds)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        largest: int = LARGEST_RESPONSE,
    ) -> str:
        """The body of a request that may safely be made again."""
        for attempt in range(1, self.attempts + 1):
            try:
                response = request(self.endpoint, method, path, body, content_type, largest)
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

    def _object(self, text: str) -> dict[str, Any]:
        try:
            value = self.endpoint.parse(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._odd(text)
        return value

    def _name(self, text: str) -> str:
        name = self._object(text).get("id")
        if not isinstance(name, str):
            raise self._odd(text)
        return name

    def _odd(self, text: str) -> Refused:
        return Refused(f"{self.endpoint.base_url}: not what a batch interface answers: {text[:80]!r}")


class _BrokenLine(Exception):
    """A line of a batch's result that says nothing of any call."""


def _is_batch(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _errors(batch: dict[str, Any]) -> str:
    """What the server says is wrong with a batch."""
    errors = batch.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    messages = (
        [str(error.get("message")) for error in data if isinstance(error, dict)] if isinstance(data, list) else []
    )
    return f": {messages[0]}" if messages else ""


def _form(fields: dict[str, str], file_name: str, text: str) -> tuple[bytes, str]:
    """(body, content type) of a form with one file (RFC 7578)."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{text}\r\n--{boundary}--\r\n"
    )
    return "".join(parts).encode(), f"multipart/form-data; boundary={boundary}"
