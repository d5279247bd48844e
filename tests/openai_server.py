"""A server on a real socket that speaks OpenAI's language."""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

from api_server import Answer, ApiServer, Error, Raw


class OpenAiServer(ApiServer):
    chat_path = "/v1/chat/completions"
    made_at = ("/v1/files", "/v1/batches")
    key_header = "Authorization"

    def completion(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": answer.reason}],
            "usage": {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens},
        }

    def error(self, error: Error) -> dict[str, Any]:
        return {"error": {"message": error.message, "code": error.code}}

    def make(self, path: str, body: bytes) -> dict[str, Any]:
        """A file or a batch, as its maker hears of it."""
        with self.lock:
            if path == "/v1/files":
                name = f"file-{len(self.files)}"
                self.files[name] = "\n".join(re.findall(r'^{"custom_id".*}$', body.decode(), re.MULTILINE))
                return {"id": name}
            name = f"batch_{len(self.batches)}"
            self.batches[name] = {"id": name, "status": "validating", **json.loads(body)}
            return self.batches[name]

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.removeprefix("/v1").partition("?")
        if path == "/batches":
            names = list(self.batches)
            after = re.search(r"after=([^&]+)", query)
            rest = names[names.index(after[1]) + 1 :] if after else names
            self.send_json(handler, {"data": [self.batches[name] for name in rest[:1]], "has_more": len(rest) > 1})
        elif path.startswith("/batches/"):
            batch = self.batches.get(path.removeprefix("/batches/"), {})
            if not batch:
                self.misbehave(handler, Error(404, message="no such batch"))
                return
            with self.lock:
                self.looks[batch["id"]] += 1
                batch["status"] = self.batch_behave(self.looks[batch["id"]])
                if batch["status"] in ("completed", "expired") and "output_file_id" not in batch:
                    self.work_off(batch)
            self.send_json(handler, batch)
        elif path.startswith("/files/"):
            self.send(handler, 200, self.files[path.split("/")[2]].encode(), {})
        else:
            self.no_such_place(handler)

    def work_off(self, batch: dict[str, Any]) -> None:
        """Answer a batch's calls; what fails goes into its other file, what hangs into none. In no order at all."""
        results: dict[str, list[str]] = {"output_file_id": [], "error_file_id": []}
        for line in reversed(self.files[batch["input_file_id"]].splitlines()):
            row = json.loads(line)
            action = self.ask_in_batch(row["body"])
            if isinstance(action, Answer | Raw):
                body = self.completion(action) if isinstance(action, Answer) else json.loads(action.body)
                response = {"status_code": 200, "body": body}
                result = {"custom_id": row["custom_id"], "response": response, "error": None}
                results["output_file_id"].append(json.dumps(result, ensure_ascii=False))
            elif isinstance(action, Error):
                response = {"status_code": action.status, "body": self.error(action)}
                result = {"custom_id": row["custom_id"], "response": response, "error": None}
                results["error_file_id"].append(json.dumps(result))
        for key, lines in results.items():
            if lines:
                batch[key] = f"{batch['id']}-{key}"
                self.files[batch[key]] = "\n".join(lines) + "\n"
        batch.setdefault("output_file_id", None)
