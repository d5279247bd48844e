"""A server on a real socket that takes pushes as the Hugging Face hub does, cuts connections, and keeps every byte.

It has repositories with branches, commits and LFS objects, and answers what huggingface_hub asks of it: who a token is
of, what a repository holds, how each file is to be sent, and a file itself. It knows no Xet.
"""

import base64
import hashlib
import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

TOKEN = "hf_" + "f4k3Pu5hT0k3nN0b0dyMaySee"
USER = "ada"
LARGE = 1 << 16
"""Bytes from which a file is an LFS object here; the real hub's limit is higher."""
AT_ONCE = 1 << 16
"""Bytes that are read of a body before the next chance to cut it."""


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    private: bool
    branches: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"main": []})
    """Branch -> its commits: id, message, files that each wrote, and all files after it."""

    def files(self, branch: str) -> dict[str, bytes]:
        commits = self.branches[branch]
        return dict(commits[-1]["files"]) if commits else {}


@dataclass
class FakeHub:
    """What the server has and has got. `cut` says of each chance whether the connection ends there."""

    url: str = ""
    who: dict[str, Any] = field(
        default_factory=lambda: {
            "name": USER,
            "type": "user",
            "orgs": [{"name": "lab", "roleInOrg": "write"}, {"name": "library", "roleInOrg": "read"}],
            "auth": {"type": "access_token", "accessToken": {"displayName": "push", "role": "write"}},
        }
    )
    cut: Callable[[str], bool] = lambda where: False
    refused: str = ""
    """Part of the addresses that are answered with 403."""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    """Digest of each large file that arrived whole, in order."""
    received: list[bytes] = field(default_factory=list)
    """Every request, without the value of its Authorization."""
    cuts: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def commits(self, repo: str, kind: str = "model", branch: str = "main") -> list[dict[str, Any]]:
        return self.repositories[kind, repo].branches[branch]

    def files(self, repo: str, kind: str = "model", branch: str = "main") -> dict[str, bytes]:
        return self.repositories[kind, repo].files(branch)

    def commits_of_all(self) -> list[dict[str, Any]]:
        branches = [branch for repository in self.repositories.values() for branch in repository.branches.values()]
        return [commit for branch in branches for commit in branch]

    def all_bytes(self) -> bytes:
        """What was received, once more with all that was packed in base64 unpacked."""
        whole = b"\n".join(self.received)
        packed = re.findall(rb'"(?:content|sample)": ?"([A-Za-z0-9+/]{8,})', whole)  # the rest may be cut off
        return b"\n".join([whole, *(base64.b64decode(part[: len(part) // 4 * 4]) for part in packed)])


class Cut(Exception):
    """This connection ends here."""


@contextmanager
def fake_hub(seed: int | None = None, chance: float = 0.0, at_most: int = 40) -> Iterator[FakeHub]:
    """Start the server. With a seed it cuts connections at random, each chance with this probability."""
    hub, draw = FakeHub(), random.Random(seed)
    if seed is not None:
        hub.cut = lambda where: len(hub.cuts) < at_most and draw.random() < chance

    class Handler(_Handler):
        state = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeHub

    def do_GET(self) -> None:
        with suppress(Cut, ConnectionError, BrokenPipeError):
            body = self._body()
            self._maybe_cut("before")
            with self.state.lock:
                status, content, headers = self._answer(self.path.partition("?")[0], body)
            self._maybe_cut("answer lost")
            self._reply(status, content, headers)
            return
        self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET

    def _maybe_cut(self, where: str) -> None:
        if self.state.cut(where):
            self.state.cuts.append(f"{self.command} {self.path.partition('?')[0]} {where}")
            raise Cut

    def _body(self) -> bytes:
        pieces: list[bytes] = []
        try:
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                piece = self.rfile.read(min(left, AT_ONCE))
                pieces.append(piece)
                left -= len(piece)
                if not piece:
                    raise Cut
                if left:
                    self._maybe_cut("within")
            while "chunked" in self.headers.get("Transfer-Encoding", ""):
                size = int(self.rfile.readline(), 16)
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
                if not size:
                    break
                self._maybe_cut("within")
        finally:
            known = [f"{key}: {value}" for key, value in self.headers.items() if key.lower() != "authorization"]
            line = f"{self.command} {self.path}\n" + "\n".join(known) + "\n\n"
            self.state.received.append(line.encode() + b"".join(pieces))
        return b"".join(pieces)

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        hub, parts = self.state, [unquote(part) for part in path.split("/")[1:]]
        if parts[0] == "lfs" and self.command == "PUT":  # as with a signed address, the address is the permission
            if sha256(body) != parts[1]:
                return 400, b"", {}
            hub.objects[parts[1]] = body
            hub.stored.append(parts[1])
            return 200, b"", {}
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid credentials"}, 401)
        if hub.refused and hub.refused in path:
            return self._json({"error": "Forbidden: you need write access"}, 403)
        if path == "/api/whoami-v2":
            return self._json(hub.who)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            key = (asked.get("type") or "model", f"{asked.get('organization') or USER}/{asked['name']}")
            if key in hub.repositories:
                return self._json({"error": "You already created this repo"}, 409)
            private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
            hub.repositories[key] = Repository(private)
            return self._json({"url": f"{hub.url}/{key[1]}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json({"objects": [self._lfs(one) for one in json.loads(body)["objects"]], "transfer": "basic"})
        if parts[0] == "api" and parts[1] in ("models", "datasets"):
            return self._repository(parts[1][:-1], "/".join(parts[2:4]), parts[4:], body)
        kind = "dataset" if parts[0] == "datasets" else "model"
        parts = parts[1:] if kind == "dataset" else parts
        if parts[2:3] == ["resolve"]:
            return self._file(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._json({"error": f"unknown: {path}"}, 404)

    def _lfs(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = asked["oid"] in self.state.objects
        upload = {"href": f"{self.state.url}/lfs/{asked['oid']}?X-Amz-Signature=5ign3d"}
        return {**asked, **({} if known else {"actions": {"upload": upload}})}

    def _repository(self, kind: str, repo: str, rest: list[str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        found = self.state.repositories.get((kind, repo))
        if found is None:
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        what, branch = (rest[0] if rest else "revision"), (rest[1] if len(rest) > 1 else "main")
        if what == "branch":
            if branch in found.branches:
                return self._json({"error": "Reference already exists"}, 409)
            found.branches[branch] = list(found.branches["main"])
            return self._json({})
        if branch not in found.branches:
            return 404, b"", {"X-Error-Code": "RevisionNotFound"}
        files = found.files(branch)
        if what == "preupload":
            asked = json.loads(body)["files"]
            return self._json({"files": [self._how(files, **one) for one in asked]})
        if what == "commit":
            return self._json(self._commit(found, f"{'datasets/' * (kind == 'dataset')}{repo}", branch, body))
        if what == "tree":
            return self._json([self._entry(name, files[name]) for name in sorted(files)])
        if what == "paths-info":
            wanted = parse_qs(body.decode())["paths"]
            return self._json([self._entry(name, files[name]) for name in wanted if name in files])
        siblings = [{"rfilename": name} for name in sorted(files)]
        commits = found.branches[branch]
        sha = commits[-1]["id"] if commits else "0" * 40
        return self._json({"id": repo, "sha": sha, "private": found.private, "siblings": siblings})

    def _how(self, files: dict[str, bytes], path: str, sample: str, size: int) -> dict[str, Any]:
        mode = "lfs" if size >= LARGE or path.endswith(".safetensors") else "regular"
        oid = None
        if path in files:
            oid = sha256(files[path]) if mode == "lfs" else git_digest(files[path])
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _commit(self, found: Repository, where: str, branch: str, body: bytes) -> dict[str, Any]:
        files, wrote, message = found.files(branch), [], ""
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                message = value["summary"]
                continue
            wrote.append(value["path"])
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.state.objects[value["oid"]]
            else:
                del files[value["path"]]
        oid = hashlib.sha1(body + str(len(found.branches[branch])).encode()).hexdigest()
        found.branches[branch].append({"id": oid, "message": message, "wrote": wrote, "files": files})
        return {"commitUrl": f"{self.state.url}/{where}/commit/{oid}", "commitOid": oid}

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_digest(content)}
        if len(content) >= LARGE or name.endswith(".safetensors"):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, kind: str, repo: str, branch: str, name: str) -> tuple[int, bytes, dict[str, str]]:
        found = self.state.repositories.get((kind, repo))
        content = found.files(branch).get(name) if found and branch in found.branches else None
        if found is None or content is None:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        commit = found.branches[branch][-1]["id"]
        return 200, content, {"ETag": f'"{git_digest(content)}"', "X-Repo-Commit": commit}

    def _json(self, value: object, status: int = 200) -> tuple[int, bytes, dict[str, str]]:
        return status, json.dumps(value).encode(), {"Content-Type": "application/json"}

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
