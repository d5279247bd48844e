"""Keep tokens on disk while a mix is built, so that measured rows are not tokenised again when it is written."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from sciriff.data.records import Conversation
from sciriff.models.remark import LEARNT, Remark
from sciriff.run.json_lines import to_json


class TokenRow(NamedTuple):
    """The tokens of a conversation, as they are trained."""

    name: str
    """Conversation.name"""
    ids: np.ndarray
    """int32, shape (tokens,)."""
    targets: np.ndarray
    """bool, shape (tokens,)."""


class TokenSpool:
    """Rows of tokens in an unnamed temporary file in `folder`, looked up by their JSON line in a mix, unparsed."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder, buffering=1 << 20)  # noqa: SIM115 - open as long as this object lives
        self._size = 0
        self._places: dict[bytes, tuple[int, int, int]] = {}
        self._remarks: dict[bytes, Remark] = {}

    def add(self, conversation: Conversation, ids: np.ndarray, targets: np.ndarray, remark: Remark = LEARNT) -> None:
        """Keep the row of a conversation."""
        name = conversation.name.encode(errors="surrogatepass")
        digest = _digest(to_json(conversation).encode())
        self._places[digest] = self._size, len(name), len(ids)
        if any(remark):
            self._remarks[digest] = remark
        write = self._file.write
        self._size += write(ids.data) + write(targets.data) + write(name)

    def remark(self, line: bytes) -> Remark | None:
        """Return what is not learnt of the conversation with this `to_json` line; None if all is, or it is unknown."""
        return self._remarks.get(_digest(line)) if self._remarks else None

    def length(self, line: bytes) -> int:
        """Return the tokens of the conversation with this `to_json` line, which was added."""
        return self._places[_digest(line)][2]

    def get(self, line: bytes) -> TokenRow | None:
        """Return the row of the conversation with this `to_json` line; None if it was never added."""
        if (entry := self._places.get(_digest(line))) is None:
            return None
        place, name, tokens = entry
        self._file.flush()
        row = os.pread(self._file.fileno(), 5 * tokens + name, place)
        return TokenRow(
            row[5 * tokens :].decode(errors="surrogatepass"),
            np.frombuffer(row, np.int32, tokens),
            np.frombuffer(row, np.bool_, tokens, 4 * tokens),
        )


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()[:16]
