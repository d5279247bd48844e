"""A server on a real socket that speaks OpenAI's language and misbehaves as it is told."""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-4f1c9a7e2b8d"


@dataclass(frozen=True)
class Answer:
    text: str = "Fine.\nRating: 4"
    input_tokens: int = 100
    output_tokens: int = 10


@dataclass(frozen=True)
class Error:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "no"
    code: str | None = None


@dataclass(frozen=True)
class Raw:
    """A body with status 200, whatever it is."""

    body: bytes


@dataclass(frozen=True)
class Hang:
    """Nothing comes back until the server ends."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed without a word."""


Action = Answer | Error | Raw | Hang | Drop
Behaviour = Callable[[str, int], Action]
"""(prompt, how often it was asked, from 1) -> what to do."""


class OpenAiServer:
    """Use it as a context manager; `base_url` is what a client needs."""

    def __init__(self, behave: Behaviour = lambda prompt, time: Answer()) -> None:
        self.behave = behave
        self.batch_behave: Callable[[int], str] = lambda looks: "completed" if looks > 1 else "in_progress"
        """How often the batch was looked at -> its status."""
        self.trouble: dict[str, Action] = {}
        """Path of a POST for a batch -> what happens instead of its answer."""
        self.too_late = True
        """Whether the server has done what it was asked before that happens."""
        self.seconds_late = 0.0
        """How long after that it does it."""
        self.before_answer: Callable[[], object] = lambda: time.sleep(0.01)
        """How long a chat completion takes."""
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.bodies: list[dict[str, Any]] = []
        self.under_way = self.most_under_way = 0
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.posts: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.get(self)

            def do_POST(self) -> None:
                server.post(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self) -> "OpenAiServer":
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass  # the client has gone

    def send_json(self, handler: BaseHTTPRequestHandler, value: Any, status: int = 200, **headers: str) -> None:
        self.send(handler, status, json.dumps(value).encode(), headers)

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self.lock:
            self.keys.add(handler.headers.get("Authorization"))
        if handler.path in ("/v1/files", "/v1/batches"):
            trouble = self.trouble.pop(handler.path, None)
            slow = trouble is not None and self.seconds_late > 0
            made = self.make(handler.path, body) if trouble is None or (self.too_late and not slow) else {}
            if slow:
                threading.Timer(self.seconds_late, self.make, (handler.path, body)).start()
            with self.lock:
                self.posts[handler.path] += 1
            if trouble is None:
                self.send_json(handler, made, 201)
            else:
                self.misbehave(handler, trouble)
        elif handler.path == "/v1/chat/completions":
            self.chat(handler, json.loads(body))
        else:
            self.send_json(handler, {"error": {"message": f"no {handler.path} here"}}, 404)

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

    def misbehave(self, handler: BaseHTTPRequestHandler, action: Action) -> None:
        match action:
            case Hang():
                self.ended.wait()
            case Drop():
                handler.connection.shutdown(socket.SHUT_RDWR)
            case Raw(content):
                self.send(handler, 200, content, {})
            case Error(status, headers, message, code):
                error = {"error": {"message": message, "code": code}}
                self.send(handler, status, json.dumps(error).encode(), headers)

    def chat(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        prompt = body["messages"][0]["content"]
        with self.lock:
            self.bodies.append(body)
            self.asked[prompt] += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            action = self.behave(prompt, self.asked[prompt])
        self.before_answer()
        with self.lock:
            self.under_way -= 1
        if isinstance(action, Answer):
            with self.lock:
                self.answered[prompt] += 1
            self.send_json(handler, completion(action))
        else:
            self.misbehave(handler, action)

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.keys.add(handler.headers.get("Authorization"))
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
            self.send_json(handler, {"error": {"message": f"no {path} here"}}, 404)

    def work_off(self, batch: dict[str, Any]) -> None:
        """Answer a batch's calls; what fails goes into its other file, what hangs into none. In no order at all."""
        results: dict[str, list[str]] = {"output_file_id": [], "error_file_id": []}
        for line in reversed(self.files[batch["input_file_id"]].splitlines()):
            row = json.loads(line)
            prompt = row["body"]["messages"][0]["content"]
            self.bodies.append(row["body"])
            self.asked[prompt] += 1
            action = self.behave(prompt, self.asked[prompt])
            if isinstance(action, Answer):
                self.answered[prompt] += 1
                response = {"status_code": 200, "body": completion(action)}
                result = {"custom_id": row["custom_id"], "response": response, "error": None}
                results["output_file_id"].append(json.dumps(result, ensure_ascii=False))
            elif isinstance(action, Error):
                response = {"status_code": action.status, "body": {"error": {"message": action.message}}}
                result = {"custom_id": row["custom_id"], "response": response, "error": None}
                results["error_file_id"].append(json.dumps(result))
        for key, lines in results.items():
            if lines:
                batch[key] = f"{batch['id']}-{key}"
                self.files[batch[key]] = "\n".join(lines) + "\n"
        batch.setdefault("output_file_id", None)


def completion(answer: Answer) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer.text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens},
    }
