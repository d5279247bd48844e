"""Send many calls as one batch, which costs half and takes up to a day: submit once, wait, collect; killed or not.

A small state file carries a batch over the death of its process. It is written before the batch is submitted, with a
random mark that goes into the batch's metadata, and again when the server has said what the batch's name is. A process
that finds the first and not the second asks the server for a batch with that mark before it submits anything.
"""

import contextlib
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
from sciriff.api.transport import Endpoint, Response, Unreachable, request

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
    except (ValueError, TypeError) as error:
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
        `tally.failed`."""
        by_id = {call.id: call for call in calls}
        batch = self._wait(state)
        files = [batch[key] for key in ("output_file_id", "error_file_id") if isinstance(batch.get(key), str)]
        answered: set[str] = set()
        for file in files:
            # not splitlines: a response may hold U+2028 and its like, which JSON does not escape
            for line in self._ask("GET", f"/files/{quote(file, safe='')}/content").split("\n"):
                if line.strip():
                    self._take(line, by_id, answered, on_reply, tally)
        reason = f"the batch {state.batch} has {batch['status']}{_errors(batch)}"
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
            row = json.loads(line)
            call = by_id.get(row["custom_id"])
            response = row.get("response") or {}
            status, body = response.get("status_code", 200 if response else None), response.get("body")
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.endpoint.base_url}: a line of the batch's result is broken ({error})") from None
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
        """Make the batch. Where the server's answer is lost, it is looked for before another is made."""
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
                if response.status == 200:
                    with contextlib.suppress(Refused):
                        return self._name(response.text)
                    why = "its answer is broken"
                else:
                    try:
                        why = self._verdict(response)
                    except Refused:
                        self.state_file.unlink()  # a clear no, so nothing is under way
                        raise
                    pause = retry_after(response.headers) or 0.0
            time.sleep(max(pause, backoff(attempt)))
            if found := self._find(state.mark):
                return found
        raise Refused(f"{self.endpoint.base_url}: the batch cannot be submitted: {why}")

    def _find(self, mark: str) -> str | None:
        """The name of the batch with this mark."""
        after = ""
        for _ in range(MOST_PAGES):
            listed = self._object(self._ask("GET", f"/batches?limit={PAGE}{after}"))
            batches = [batch for batch in listed.get("data") or [] if isinstance(batch, dict)]
            for batch in batches:
                if (batch.get("metadata") or {}).get(MARK) == mark:
                    return str(batch["id"])
            if not listed.get("has_more") or not batches:
                break
            after = f"&after={quote(str(batches[-1]['id']), safe='')}"
        return None

    def _wait(self, state: BatchState) -> dict[str, Any]:
        """The batch as the server describes it once it has ended."""
        said = None
        while True:
            batch = self._object(self._ask("GET", f"/batches/{quote(str(state.batch), safe='')}"))
            counts = batch.get("request_counts")
            counts = counts if isinstance(counts, dict) else {}
            status = f"{batch.get('status')}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
            if status != said:
                self.say(f"batch {state.batch}: {status}")
                said = status
            if batch.get("status") in ENDED:
                return batch
            time.sleep(self.poll_seconds)

    def _ask(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> str:
        """The body of a request that may safely be made again."""
        for attempt in range(1, self.attempts + 1):
            try:
                response = request(self.endpoint, method, path, body, content_type)
                if response.status == 200:
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
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(f"{self.endpoint.base_url}: not what a batch interface answers: {text[:80]!r}")
        return value

    def _name(self, text: str) -> str:
        name = self._object(text).get("id")
        if not isinstance(name, str):
            raise Refused(f"{self.endpoint.base_url}: not what a batch interface answers: {text[:80]!r}")
        return name


def _errors(batch: dict[str, Any]) -> str:
    """What the server says is wrong with a batch."""
    errors = batch.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    messages = [str(error.get("message")) for error in data or [] if isinstance(error, dict)]
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
