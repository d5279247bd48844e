"""A server on a real socket that misbehaves as told; openai_server.py and anthropic_server.py have the languages."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-test-4f1c9a7e2b8d"


@dataclass(frozen=True)
class Answer:
    text: str = "Fine.\nRating: 4"
    input_tokens: int = 100
    output_tokens: int = 10
    reason: str = "stop"
    """Why it ended, in OpenAI's words."""


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


class ApiServer:
    """Use it as a context manager; `base_url` is what a client needs."""

    chat_path: str
    """Where a single question goes."""
    made_at: tuple[str, ...]
    """Where POSTs make something for a batch."""
    key_header: str

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
        """How long an answer takes."""
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
                server.note_key(self)
                server.get(self)

            def do_POST(self) -> None:
                server.note_key(self)
                server.post(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()

    def note_key(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.keys.add(handler.headers.get(self.key_header))

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
        if handler.path in self.made_at:
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
        elif handler.path == self.chat_path:
            self.chat(handler, json.loads(body))
        else:
            self.no_such_place(handler)

    def no_such_place(self, handler: BaseHTTPRequestHandler) -> None:
        self.send_json(handler, {"error": {"message": f"no {handler.path} here"}}, 404)

    def misbehave(self, handler: BaseHTTPRequestHandler, action: Action) -> None:
        match action:
            case Hang():
                self.ended.wait()
            case Drop():
                handler.connection.shutdown(socket.SHUT_RDWR)
            case Raw(content):
                self.send(handler, 200, content, {})
            case Error(status, headers, _, _):
                self.send(handler, status, json.dumps(self.error(action)).encode(), headers)

    def chat(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        prompt = body["messages"][-1]["content"]
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
            self.send_json(handler, self.completion(action))
        else:
            self.misbehave(handler, action)

    def ask_in_batch(self, body: dict[str, Any]) -> Action:
        """What becomes of a call of a batch."""
        prompt = body["messages"][-1]["content"]
        self.bodies.append(body)
        self.asked[prompt] += 1
        action = self.behave(prompt, self.asked[prompt])
        self.answered[prompt] += isinstance(action, Answer)
        return action

    def completion(self, answer: Answer) -> dict[str, Any]:
        """The body of an answer."""
        raise NotImplementedError

    def error(self, error: Error) -> dict[str, Any]:
        """The body of an error."""
        raise NotImplementedError

    def make(self, path: str, body: bytes) -> dict[str, Any]:
        """A file or a batch, as its maker hears of it."""
        raise NotImplementedError

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError
