"""A server that understands as much of Weights & Biases' protocol as its client needs to send a run.

GraphQL is at /graphql, the lines of the curves go to /files/.../file_stream, files come by PUT. It keeps what it was
sent, by run.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "5ec2e7" * 6 + "5ec2"
"""A key as the client takes it: 40 characters."""


@dataclass
class StoredRun:
    """A run as the server has it."""

    config: str = "{}"
    display_name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """`wandb-history.jsonl` and the like -> lines, each JSON."""
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.history]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.lines.get("wandb-summary.json") or ["{}"])[-1])


@dataclass
class WandbServer:
    url: str
    runs: dict[str, StoredRun] = field(default_factory=dict)

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The `data` of a GraphQL answer; None for an operation that is not known."""
        entity = {"id": "e", "name": "team"}
        project = {"id": "p", "name": "sciriff", "entity": entity}
        match operation:
            case "Viewer":
                return {"viewer": {"id": "u", "entity": "team", "username": "u", "flags": "{}", "teams": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "RunResumeStatus":
                return {"model": {**project, "bucket": self._resumed(variables["name"])}}
            case "UpsertBucket":
                run = self.runs.setdefault(variables["name"], StoredRun())
                run.config = variables["config"] or run.config
                run.display_name = variables["displayName"] or run.display_name
                run.group = variables["groupName"] or run.group
                run.tags = variables["tags"] or run.tags
                bucket = {"id": f"id-{variables['name']}", "name": variables["name"], "project": project}
                return {"upsertBucket": {"bucket": bucket | {"displayName": run.display_name}, "inserted": True}}
            case "CreateRunFiles":
                names = variables["files"]
                files = [{"name": name, "uploadUrl": f"{self.url}/put/{variables['run']}/{name}"} for name in names]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":  # as if it had the artifact already
                artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
                return {"createArtifact": {"artifact": artifact}}
        return None

    def _resumed(self, name: str) -> dict[str, Any] | None:
        if (run := self.runs.get(name)) is None:
            return None
        history, events = (run.lines.get(f"wandb-{what}.jsonl", []) for what in ("history", "events"))
        return {
            "id": f"id-{name}",
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.display_name,
            "logLineCount": 0,
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "config": run.config,
            "tags": run.tags,
            "wandbConfig": "{}",
        }

    def stream(self, run: StoredRun, body: dict[str, Any]) -> None:
        """Lines from an offset on replace what was there, as they do at the real server."""
        for name, chunk in body.get("files", {}).items():
            lines = run.lines.setdefault(name, [])
            if name == "wandb-summary.json":
                lines[:] = chunk["content"]
            else:
                lines[chunk["offset"] :] = chunk["content"]
        if body.get("complete"):
            run.exit_code = body["exitcode"]


@contextmanager
def wandb_server(port: int = 0) -> Iterator[WandbServer]:
    """A server on this machine, on a free port unless one is named."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, values: dict[str, Any]) -> None:
            answer = json.dumps(values).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            body = json.loads(self._body() or b"{}")
            with lock:
                if self.path == "/graphql":
                    data = server.answer(body.get("operationName", ""), body.get("variables") or {})
                    self._send({"data": data} if data is not None else {"errors": [{"message": "unknown operation"}]})
                else:
                    _, _, _entity, _project, name, _ = self.path.split("/")
                    server.stream(server.runs.setdefault(name, StoredRun()), body)
                    self._send({})

        def do_PUT(self) -> None:
            _, _, name, path = self.path.split("/", 3)
            with lock:
                server.runs[name].files[path] = self._body()
                self._send({})

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """The client may leave in the middle of a sentence."""

    http = Quiet(("127.0.0.1", port), Handler)
    server = WandbServer(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
