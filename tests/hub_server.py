"""A server on a real socket that has a dataset, as the Hugging Face hub has, or refuses it."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DATASET = "someone/data"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Of every revision that is asked for."""


@contextmanager
def hub_server(files: Mapping[str, bytes] = {}, refusal: tuple[int, str] | None = None) -> Iterator[str]:
    """The address to set HF_ENDPOINT to. DATASET holds `files`, or all is refused with (status, error code)."""

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            parts = path.split("/")[1:]
            if refusal:
                self.reply(refusal[0], headers={"X-Error-Code": refusal[1]})
            elif parts[:4] == ["datasets", *DATASET.split("/"), "resolve"]:
                self.send_file("/".join(parts[5:]))
            elif parts[:5] == ["api", "datasets", *DATASET.split("/"), "tree"]:
                recursive = "recursive=true" in query.lower()
                self.reply_json(list(self.entries("/".join(parts[6:]), recursive)))
            elif parts[:4] == ["api", "datasets", *DATASET.split("/")]:
                self.reply_json({"id": DATASET, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
            else:
                self.reply(404)

        do_HEAD = do_GET

        def send_file(self, name: str) -> None:
            if name in files:
                self.reply(200, files[name], {"ETag": f'"{_digest(files[name])}"', "X-Repo-Commit": COMMIT})
            else:
                self.reply(404, headers={"X-Error-Code": "EntryNotFound"})

        def entries(self, folder: str, recursive: bool) -> Iterator[dict[str, Any]]:
            """What stands in a folder of the dataset, directly or at any depth."""
            beginning = f"{folder}/" if folder else ""
            folders = set()
            for name, content in files.items():
                if name.startswith(beginning):
                    below = name[len(beginning) :].split("/")
                    parents = [beginning + "/".join(below[:depth]) for depth in range(1, len(below))]
                    folders.update(parents if recursive else parents[:1])
                    if recursive or not parents:
                        yield {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}
            for name in sorted(folders):
                yield {"type": "directory", "path": name, "size": 0, "oid": _digest(name.encode())}

        def reply_json(self, value: object) -> None:
            self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
