"""OpenAI's batches: a file of calls is uploaded, a batch is made of it, and files of results come back."""

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from sciriff.models.api.batch import Batches, BatchState
from sciriff.models.api.calls import Call, Reply, Sent
from sciriff.models.api.openai import CHAT, read_reply
from sciriff.models.api.transport import LARGEST_FILE, Response

MARK = "sciriff"
"""The key of our mark in a batch's metadata."""
ENDED = ("completed", "failed", "expired", "cancelled")


class OpenAiBatches(Batches):
    """https://platform.openai.com/docs/guides/batch"""

    most_calls = 50_000
    most_bytes = 200 * 10**6
    path = "/batches"

    def line(self, call: Call, mark: str) -> str:
        return json.dumps({"custom_id": call.id, "method": "POST", "url": f"/v1{CHAT}", "body": call.body})

    def prepare(self, lines: Sequence[str]) -> str:
        """Upload the calls. Returns the name of their file."""
        body, content_type = _form({"purpose": "batch"}, "calls.jsonl", "\n".join(lines) + "\n")
        return self.name(self.ask("POST", "/files", body, content_type))

    def creation(self, state: BatchState, lines: Sequence[str]) -> bytes:
        return json.dumps(
            {
                "input_file_id": state.prepared,
                "endpoint": f"/v1{CHAT}",
                "completion_window": "24h",
                "metadata": {MARK: state.mark},
            }
        ).encode()

    def find(self, state: BatchState) -> str | None:
        for batch in self.listed("after"):
            metadata = batch.get("metadata")
            if isinstance(metadata, dict) and metadata.get(MARK) == state.mark:
                found: str = batch["id"]
                return found
        return None

    def status(self, batch: dict[str, Any]) -> tuple[str, bool]:
        status = batch["status"]
        if not isinstance(status, str):
            raise KeyError("status")
        counts = batch.get("request_counts")
        counts = counts if isinstance(counts, dict) else {}
        words = f"{status}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
        return words, status in ENDED

    def results(self, batch: dict[str, Any]) -> Iterator[str]:
        for file in [batch[key] for key in ("output_file_id", "error_file_id") if isinstance(batch.get(key), str)]:
            # not splitlines: a response may hold U+2028 and its like, which JSON does not escape
            yield from self.ask("GET", f"/files/{quote(file, safe='')}/content", largest=LARGEST_FILE).split("\n")

    def result(self, row: dict[str, Any], by_name: dict[str, Sent]) -> tuple[Sent, Reply | Response] | None:
        call = by_name.get(row["custom_id"])
        response = row.get("response") or {}
        status, body = response.get("status_code", 200 if response else None), response.get("body")
        if call is None:
            return None
        if status == 200:
            try:
                return call, read_reply(body, call)
            except ValueError as error:
                body = {"error": {"message": str(error)}}
        failed = {"error": row["error"]} if row.get("error") else body
        status = status if type(status) is int and status >= 400 else 400
        return call, Response(status, {}, json.dumps(failed), self.endpoint)


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
