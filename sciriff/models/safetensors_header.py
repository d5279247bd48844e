"""Find and count the weights in safetensors files by their headers, without reading any weight."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 100_000_000
"""Bytes of a header, as the format's own reader allows."""
MOST = 2**48
"""Longest side of a tensor."""
WEIGHTS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
FOUR_BITS = "_blocks"
"""End of the name of a tensor in MXFP4, as gpt-oss is published: two weights in each byte, scales beside it."""
SCALES = re.compile(r"_scales?(_inv)?$|\.(input|weight)_scale")
BUFFERS = re.compile(r"inv_freq$|position_ids$|\.attn\.(masked_)?bias$|running_(mean|var)$|num_batches_tracked$")
"""Names of tensors that are no weights."""


BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Width of a number of each type that is stored plainly."""


class NotComparable(Exception):
    """The weights are quantised in a way of which headers do not say how many there are."""


def weights_in(folder: Path, ignored: Sequence[str] = ()) -> int | None:
    """The number of weights in all shards of a folder, without names that match one of `ignored`; None without any
    shard. NotComparable for quantised weights; ValueError for a file that is damaged."""
    files = sorted(folder.glob("model*.safetensors"))
    patterns = [re.compile(pattern) for pattern in ignored]
    count, seen = 0, set()
    for name, tensor in ((n, t) for file in files for n, t in _tensors(file)):
        if name in seen or BUFFERS.search(name) or SCALES.search(name) or any(p.search(name) for p in patterns):
            continue
        seen.add(name)
        numbers = math.prod(tensor["shape"])
        if tensor["dtype"] == "U8" and name.endswith(FOUR_BITS):
            count += 2 * numbers
        elif tensor["dtype"] in WEIGHTS:
            count += numbers
        else:
            raise NotComparable
    return count if files else None


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte in the file."""
    end: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """The tensors in the safetensors files that a model folder is loaded from, in their order; empty without any.
    ValueError for a shard that is not there, and for a file that is damaged or cut off."""
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        length = int.from_bytes(file.open("rb").read(8), "little")
        size = file.stat().st_size
        of_file = []
        for name, tensor in _tensors(file):
            try:
                begin, end = (8 + length + _size(offset) for offset in tensor["data_offsets"])
            except (ValueError, TypeError):
                raise ValueError(f"{file.name}: its header is damaged") from None
            stored = Stored(file, tensor["dtype"], tuple(tensor["shape"]), begin, end)
            width = BYTES.get(stored.dtype)
            if width is not None and end - begin != width * stored.numbers:
                raise ValueError(f"{file.name}: its header is damaged")
            if not begin <= end <= size:
                raise ValueError(f"{file.name}: it is cut off")
            of_file.append((begin, name, stored))
        found |= {name: stored for _, name, stored in sorted(of_file, key=lambda one: one[0])}
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a model folder is loaded from, sorted; empty without any. ValueError for an index that
    is damaged or names a file that is not there."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else []
    try:
        names = sorted({name + "" for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{index.name} is damaged") from None
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{name} of its index of weights is not there")
    return [folder / name for name in names]


def missing_shards(folder: Path) -> list[str]:
    """The files that a folder's index of weights names and that are not there, sorted; none without an index, and for
    one that cannot be read."""
    if (folder / "model.safetensors").is_file():  # which is taken before an index
        return []
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (folder / index).is_file():
            try:
                named = set(json.loads((folder / index).read_bytes())["weight_map"].values())
                return sorted(name for name in named if not (folder / name).is_file())
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return []
    return []


def _size(number: Any) -> int:
    """A side of a tensor. ValueError for what can be none."""
    if type(number) is not int or not 0 <= number <= MOST:
        raise ValueError
    return number


def _text(text: Any) -> str:
    """A name, of which JSON allows more than can be written. ValueError for what is none."""
    if not isinstance(text, str):
        raise ValueError
    text.encode()
    return text


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Name, and type and shape, of the tensors in a file."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > LARGEST:
            raise ValueError(f"{file.name}: not a safetensors file")
        try:
            header = json.loads(opened.read(length))
            yield from (
                (_text(name), {**t, "dtype": _text(t["dtype"]), "shape": [_size(n) for n in t["shape"]]})
                for name, t in header.items()
                if name != "__metadata__"
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{file.name}: its header is damaged") from None
