"""Read tensors of safetensors files in chunks, and write such a file in the order of its header."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from sciriff.models.safetensors_header import BYTES, Stored

CHUNK = 1 << 22
"""Numbers of a tensor that are in memory at a time: 16 MiB in float32."""
TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "BOOL": torch.uint8,
}
"""Type of a tensor by its name in the file; truth values are only copied."""


def chunks(numbers: int) -> Iterator[tuple[int, int]]:
    """(first, count) of the chunks of so many numbers."""
    for first in range(0, numbers, CHUNK):
        yield first, min(CHUNK, numbers - first)


class TensorReader:
    """Reads parts of tensors; each file is opened once. The pages of a mapped file would count as memory of this
    process, so none is mapped."""

    def __init__(self) -> None:
        self._opened: dict[Path, int] = {}

    def __enter__(self) -> "TensorReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for opened in self._opened.values():
            os.close(opened)
        self._opened.clear()

    def content(self, stored: Stored, first: int, count: int) -> bytearray:
        """The bytes of `count` numbers from the one at `first`."""
        if stored.file not in self._opened:
            self._opened[stored.file] = os.open(stored.file, os.O_RDONLY)
        width = BYTES[stored.dtype]
        content = bytearray(count * width)
        view, place = memoryview(content), stored.begin + first * width
        while view:
            done = os.preadv(self._opened[stored.file], [view], place)
            if not done:
                raise OSError(f"{stored.file} ended while it was read; copy or download it again")
            view, place = view[done:], place + done
        return content

    def floats(self, stored: Stored, first: int, count: int) -> torch.Tensor:
        """The same numbers as float32, shape (count,)."""
        return torch.frombuffer(self.content(stored, first, count), dtype=TORCH[stored.dtype]).to(torch.float32)


class ShardWriter:
    """Writes a safetensors file whose tensors are known by name, type and shape before; each tensor's chunks are given
    in the order of `names`. `digests` has the SHA-256 of each tensor's bytes."""

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        # wide types first, so that every tensor begins at a multiple of its width
        self.names = sorted(tensors, key=lambda name: -BYTES[tensors[name][0]])
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        begin = 0
        for name in self.names:
            dtype, shape = tensors[name]
            size = BYTES[dtype]
            for side in shape:
                size *= side
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}
            begin += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._file = path.open("wb", buffering=0)
        self._put(len(text).to_bytes(8, "little") + text)
        self._size = self._file.tell() + begin
        self.digests: dict[str, str] = {}

    def write(self, name: str, parts: Iterator[memoryview]) -> None:
        """Write all bytes of a tensor."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
            self._put(part)
        self.digests[name] = digest.hexdigest()

    def finish(self) -> None:
        """Put the file on the disk and close it."""
        assert self._file.tell() == self._size, "a tensor was left out"
        os.fsync(self._file.fileno())
        self._file.close()

    def _put(self, content: bytes | memoryview) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) or 0 :]


def content_of(numbers: torch.Tensor, dtype: str) -> memoryview:
    """The bytes of numbers, rounded to a type."""
    return numbers.to(TORCH[dtype]).contiguous().view(torch.uint8).numpy().data


def digest_of(stored: Stored, reader: TensorReader) -> str:
    """SHA-256 of the bytes of a tensor."""
    digest = hashlib.sha256()
    for first, count in chunks(stored.numbers):
        digest.update(reader.content(stored, first, count))
    return digest.hexdigest()
