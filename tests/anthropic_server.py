"""A server on a real socket that speaks Anthropic's language."""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

from api_server import Answer, ApiServer, Error, Raw

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class AnthropicServer(ApiServer):
    chat_path = "/v1/messages"
    made_at = ("/v1/messages/batches",)
    key_header = "x-api-key"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batch_behave = lambda looks: "ended" if looks > 1 else "in_progress"
        self.versions: set[str | None] = set()

    def note_key(self, handler: BaseHTTPRequestHandler) -> None:
        # older clients send the key in a header of its own, newer ones as a bearer
        bearer = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        with self.lock:
            self.keys.add(handler.headers.get(self.key_header) or bearer or None)
        self.versions.add(handler.headers.get("anthropic-version"))

    def completion(self, answer: Answer) -> dict[str, Any]:
        thought = {"type": "thinking", "thinking": "", "signature": "x"}
        return {
            "type": "message",
            "role": "assistant",
            "content": [thought, {"type": "text", "text": answer.text}] if answer.text else [],
            "stop_reason": STOP_REASONS.get(answer.reason, answer.reason),
            "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        }

    def error(self, error: Error) -> dict[str, Any]:
        found = {"type": ERROR_TYPES.get(error.status, "api_error"), "message": error.message}
        return {"type": "error", "error": {**found, "details": {"error_code": error.code} if error.code else None}}

    def make(self, path: str, body: bytes) -> dict[str, Any]:
        with self.lock:
            name = f"msgbatch_{len(self.batches)}"
            requests = json.loads(body)["requests"]
            names = [request["custom_id"] for request in requests]
            assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in names), names
            assert len(set(names)) == len(names)
            self.files[name] = json.dumps(requests)
            self.batches[name] = self.described(name, "in_progress", {"processing": len(requests)})
            return self.batches[name]

    def described(self, name: str, status: str, counts: dict[str, int]) -> dict[str, Any]:
        zero = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        # elsewhere: a client that follows it hands its key to a stranger
        url = "http://127.0.0.1:9/results" if status == "ended" else None
        return {"id": name, "processing_status": status, "request_counts": {**zero, **counts}, "results_url": url}

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.removeprefix("/v1/messages").partition("?")
        name = path.removeprefix("/batches/").removesuffix("/results")
        if path == "/batches":
            names = list(reversed(self.batches))
            after = re.search(r"after_id=([^&]+)", query)
            rest = names[names.index(after[1]) + 1 :] if after else names
            self.send_json(handler, {"data": [self.batches[one] for one in rest[:1]], "has_more": len(rest) > 1})
        elif name not in self.batches:
            self.misbehave(handler, Error(404, message="no such batch"))
        elif path.endswith("/results"):
            self.send(handler, 200, self.files[f"{name}/results"].encode(), {})
        else:
            with self.lock:
                self.looks[name] += 1
                if self.batch_behave(self.looks[name]) == "ended" and f"{name}/results" not in self.files:
                    self.work_off(name)
            self.send_json(handler, self.batches[name])

    def work_off(self, name: str) -> None:
        """Answer a batch's calls; what hangs has expired. In no order at all."""
        lines, counts = [], dict.fromkeys(("succeeded", "errored", "expired"), 0)
        for request in reversed(json.loads(self.files[name])):
            action = self.ask_in_batch(request["params"])
            if isinstance(action, Answer):
                result = {"type": "succeeded", "message": self.completion(action)}
            elif isinstance(action, Raw):
                result = {"type": "succeeded", "message": json.loads(action.body)}
            elif isinstance(action, Error):
                result = {"type": "errored", "error": self.error(action)}
            else:
                result = {"type": "expired"}
            counts[result["type"]] += 1
            lines.append(json.dumps({"custom_id": request["custom_id"], "result": result}, ensure_ascii=False))
        self.files[f"{name}/results"] = "\n".join(lines) + "\n"
        self.batches[name] = self.described(name, "ended", counts)
