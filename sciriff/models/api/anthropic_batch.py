"""Anthropic's batches: one request holds all calls, and a stream of results comes back.

A batch bears no name of ours, so the mark is in the names of its calls, which only its results show. The batch whose
submission was never answered is therefore looked for among those that are newer than the newest one before it and have
as many calls; each is waited for until its results can be read. So the same calls are never paid for twice.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from sciriff.models.api.anthropic import MESSAGES, read_reply
from sciriff.models.api.batch import Batches, BatchState
from sciriff.models.api.calls import Call, Refused, Reply, Sent
from sciriff.models.api.transport import LARGEST_FILE, Response

LONGEST_NAME = 64
"""Characters of a call's name, of a-z, A-Z, 0-9, _ and -."""
ENVELOPE = '{"requests": [%s]}'
STATUS = {"api_error": 500, "overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504}
"""Kinds of errors that another attempt may mend -> the status of the same error to a single call."""


class AnthropicBatches(Batches):
    """https://platform.claude.com/docs/en/build-with-claude/batch-processing"""

    most_calls = 100_000
    most_bytes = 256 * 10**6 - len(ENVELOPE)
    path = f"{MESSAGES}/batches"

    def name_of(self, call: Sent, mark: str) -> str:
        return f"{mark}-{call.id}"[:LONGEST_NAME]

    def line(self, call: Call, mark: str) -> str:
        return json.dumps({"custom_id": self.name_of(call, mark), "params": call.body})

    def prepare(self, lines: Sequence[str]) -> str:
        """The name of the newest batch so far; empty where there is none."""
        newest = next(self.listed("after_id"), None)
        return newest["id"] if newest else ""

    def creation(self, state: BatchState, lines: Sequence[str]) -> bytes:
        return (ENVELOPE % ",".join(lines)).encode()

    def find(self, state: BatchState) -> str | None:
        for batch in self.listed("after_id"):
            name: str = batch["id"]
            if name == state.prepared:
                return None
            if sum(_counts(batch).values()) == state.calls and self._is_marked(name, state.mark):
                return name
        return None

    def _is_marked(self, name: str, mark: str) -> bool:
        """Whether a batch is ours; waits until it can be known."""
        waited = False
        while True:
            batch, status, ended = self.look(name)
            if ended:
                break
            if not waited:
                self.say(f"batch {name}: {status}; whether it is ours will be seen when it has ended")
                waited = True
            time.sleep(self.poll_seconds)
        line = next((line for line in self.results(batch) if line.strip()), "{}")
        try:
            return str(self.endpoint.parse(line)["custom_id"]).startswith(f"{mark}-")
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{self.endpoint.base_url}: the results of {name} are broken: {line[:80]!r}") from None

    def status(self, batch: dict[str, Any]) -> tuple[str, bool]:
        status = batch["processing_status"]
        if not isinstance(status, str) or not isinstance(batch["id"], str):
            raise KeyError("processing_status")
        counts = _counts(batch)
        return f"{status}, {counts.get('succeeded', 0)} of {sum(counts.values())} answered", status == "ended"

    def results(self, batch: dict[str, Any]) -> Iterator[str]:
        # not from its results_url: whatever that is would get the key
        path = f"{self.path}/{quote(str(batch['id']), safe='')}/results"
        yield from self.ask("GET", path, largest=LARGEST_FILE).split("\n")

    def result(self, row: dict[str, Any], by_name: dict[str, Sent]) -> tuple[Sent, Reply | Response] | None:
        call = by_name.get(row["custom_id"])
        found = row["result"]
        kind = found["type"]
        if call is None or kind in ("expired", "canceled"):
            return None
        problem: Any = found.get("error")
        if kind == "succeeded":
            try:
                return call, read_reply(found["message"], call)
            except ValueError as error:
                problem = {"error": {"message": str(error)}}
        inner = problem.get("error") if isinstance(problem, dict) else None
        status = STATUS.get(str(inner.get("type")), 400) if isinstance(inner, dict) else 400
        return call, Response(status, {}, json.dumps(problem), self.endpoint)


def _counts(batch: dict[str, Any]) -> dict[str, int]:
    """How many calls of a batch are how far."""
    counts = batch.get("request_counts")
    return {key: n for key, n in counts.items() if type(n) is int} if isinstance(counts, dict) else {}
