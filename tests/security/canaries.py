"""Secrets that a test plants, a stranger's server that keeps every byte it gets, and a search for the secrets."""

import base64
import os
import re
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Self

SECRETS = {
    "OPENAI_API_KEY": "sk-canary-0f6d1c2b9a8e",
    "HF_TOKEN": "hf_canary7b1e4d5a6c",
    "WANDB_API_KEY": "ca9a51" + "3" * 34,
    "AWS_SECRET_ACCESS_KEY": "canary/5d8f2e1b7a+9c4e",
}
PACKED = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
ROOT = Path(__file__).parents[2]


def spellings(secret: str) -> list[bytes]:
    """How a secret may stand in a file or a request."""
    bare = secret.encode()
    return [
        bare,
        base64.b64encode(bare).rstrip(b"="),
        base64.b64encode(b"api:" + bare).rstrip(b"="),
        bare.hex().encode(),
    ]


def leaked(content: bytes) -> list[str]:
    """Names of the secrets in this, also in parts that are packed as pages pack them."""
    parts = [content]
    for found in PACKED.findall(content):
        try:
            raw = base64.b64decode(found + b"=" * (-len(found) % 4))
            parts.append(raw)
            parts.append(zlib.decompressobj(wbits=47).decompress(raw))
        except (ValueError, zlib.error):
            continue
    return [name for name, secret in SECRETS.items() if any(s in part for s in spellings(secret) for part in parts)]


def leaked_files(*folders: Path) -> dict[Path, list[str]]:
    """File -> the secrets in it or in its name, of all files below some folders."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {path: leaked(path.read_bytes()) + leaked(os.fsencode(path)) for path in files}
    return {path: names for path, names in found.items() if names}


class Stranger:
    """A server that takes anything, keeps every byte and answers nothing that helps."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.host}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                place = len(self.got)
                self.got.append(b"")
                try:
                    while piece := connection.recv(1 << 16):
                        self.got[place] += piece
                        if b"\r\n\r\n" in self.got[place] and self.got[place].endswith((b"}", b"\r\n\r\n")):
                            connection.sendall(b"HTTP/1.1 400 no\r\nContent-Length: 2\r\n\r\n{}")
                            break
                except OSError:
                    continue


def command(place: Path, *words: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m sciriff.WORDS` in a folder, with the secrets in its environment and a home of its own."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "OPENAI", "HF_TOKEN"))}
    home = place / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "SCIRIFF_CACHE": str(place / "cache")}
    return subprocess.run(
        [sys.executable, "-m", f"sciriff.{words[0]}", *words[1:]],
        cwd=place,
        env={**known, **SECRETS, **own, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        timeout=timeout,
        check=False,
    )
