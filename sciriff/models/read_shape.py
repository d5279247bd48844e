"""Read the shape of a model from its config.json: `python -m sciriff.models.read_shape`, JSON in, a line of JSON out.

In a process of its own, since the driver loads no transformers, and since a stranger's config.json may ask for more
memory or time than there is. No weight is read or made.
"""

import contextlib
import hashlib
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sciriff.config import ShapeConfig, as_dict, shape_of_values
from sciriff.models import safetensors_header
from sciriff.models.loading import reason_for
from sciriff.models.stored_formats import no_model_folder
from sciriff.run import known_errors
from sciriff.run.digest import value_digest
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.run.whole_file import write_whole

VERSION = 2
"""Version of what is read; with another, what is in the cache is read again."""
LARGEST = 4 * 2**20
"""Bytes of a config.json. Most have 2,000, some with a list of quantised layers 200,000."""
MEMORY = 16 * 2**30
"""Bytes that this process may use. A model without weights needs one or two GiB."""
MOST = (
    (re.compile(r"experts", re.ASCII), 100_000),
    (re.compile(r"layers|^depth|blocks|heads|groups", re.ASCII), 10_000),
    (re.compile(r"size|dim|width|hidden|ffn|inner|embd|d_model|rank|positions|context|length", re.ASCII), 2**40),
)
"""Words in a key of config.json, and the largest number that a model which anybody can load may have there."""
MOST_TOGETHER = (re.compile(r"layers|^depth|blocks"), re.compile(r"experts"))
MOST_MODULES = 2_000_000
"""Layers times experts at most: each may be an object of its own."""
TOLERANCE = 0.01
"""Share by which the weights in the files may differ from those that were computed."""
DEFAULT_CONTEXT = 8192
"""Longest sequence of a model whose config.json names none."""


@dataclass(frozen=True)
class Found:
    """What is kept of a config.json."""

    shape: ShapeConfig
    ignored: tuple[str, ...]
    """Regular expressions of names in the weight files that this model does not load."""
    notes: tuple[str, ...]


def main() -> int:
    asked = json.load(sys.stdin)
    _limit_memory()
    with _only_our_own_line() as line:
        answer: dict[str, Any] = {"shape": None, "problem": None, "notes": []}
        try:
            found = shape_of(asked["source"], asked["revision"], asked["trust_remote_code"], Path(asked["cache_dir"]))
            answer["shape"] = as_dict(found.shape)
            answer["notes"] = [*found.notes, *weights_differ(Path(asked["source"]), found)]
        except UserError as error:
            answer["problem"] = str(error)
        line(json.dumps(answer))
    return 0


@contextlib.contextmanager
def _only_our_own_line() -> Iterator[Any]:
    """Send to standard error what libraries print, and give a function that writes to standard output."""
    with os.fdopen(os.dup(1), "w") as own:
        os.dup2(2, 1)

        def line(text: str) -> None:
            own.write(text + "\n")
            own.flush()

        yield line


def shape_of(source: str, revision: str | None, trust_remote_code: bool, cache_dir: Path) -> Found:
    """Read the shape of a folder or hub id, or return what the cache has. UserError, whose message begins after the
    name of the source, says why it cannot be read."""
    content = _config_json(source, revision)
    digest = hashlib.sha256(content).hexdigest()
    about = value_digest([digest, VERSION, metadata.version("transformers")])
    kept = cache_dir / "shapes" / f"{about}.json"
    if not trust_remote_code and (found := _kept(kept)) is not None:
        return found
    found = _built(parsed(content), source, revision, trust_remote_code, digest)
    if not trust_remote_code:
        with contextlib.suppress(OSError, UserError):  # a cache that cannot be written costs seconds
            write_whole(kept, json.dumps({**vars(found), "shape": as_dict(found.shape)}))
    return found


def _config_json(source: str, revision: str | None) -> bytes:
    """The bytes of config.json, of a hub id downloaded unless the hub's cache has it."""
    file = Path(source) / "config.json"
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            file = Path(hf_hub_download(source, file.name, revision=revision))
        except (OSError, ValueError) as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                raise UserError(" has no config.json on the hub, so it is no model; see model.revision") from None
            raise UserError(f" {reason_for(source, error)}; with the shape typed none is read: SHAPE") from None
    elif not file.is_file():
        raise UserError(f" {no_model_folder(Path(source))}")
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UserError(f": its config.json has more than {LARGEST:,} bytes, so it is no model's")
    return content


def parsed(content: bytes) -> dict[str, Any]:
    """The values of a config.json in which no number is absurd. UserError for any other."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f": its config.json cannot be read ({_line(error)}); copy or download it again") from None
    if not isinstance(values, dict):
        raise UserError(": its config.json has no keys and values, so it is no model's; copy or download it again")
    if not isinstance(values.get("model_type"), str):
        raise UserError(": its config.json names no model_type, so its family is not known; give the shape: SHAPE")
    layers, experts = (max(_found(values, word), default=1) for word in MOST_TOGETHER)
    for key, number in _numbers(values):
        for word, most in MOST:
            if word.search(key) and not -most <= number <= most:
                raise UserError(f": {_line(key)}={_line(number)} in its config.json is larger than any model's")
    if layers * experts > MOST_MODULES:
        raise UserError(f": {layers} layers of {experts} experts in its config.json are more than any model has")
    return values


def _numbers(values: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number with the last part of its key, those in lists included."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _numbers(value, str(name))
    elif isinstance(values, list):
        for value in values:
            yield from _numbers(value, key)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield key, values


def _found(values: Any, word: re.Pattern[str]) -> Iterator[int]:
    return (int(number) for key, number in _numbers(values) if word.search(key) and abs(number) < 2**60)


def _line(text: object) -> str:
    return shortened(visible_line(" ".join(str(text).split())), 200)


def _kept(file: Path) -> Found | None:
    """What the cache has; None where that is nothing, or damaged."""
    try:
        values = json.loads(file.read_bytes())
        shape = shape_of_values(values["shape"])
        ignored, notes = ([str(text) for text in values[key]] for key in ("ignored", "notes"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return None if shape is None else Found(shape, tuple(ignored), tuple(notes))


def _built(values: dict[str, Any], source: str, revision: str | None, trust_remote_code: bool, digest: str) -> Found:
    """Build the model without weights and measure it."""
    from sciriff.models import measured_shape

    family = values["model_type"]
    try:
        model = measured_shape.empty_model(values, source, revision, trust_remote_code)
        shape, notes = measured_shape.shape_of_model(model, DEFAULT_CONTEXT)
    except measured_shape.UnknownFamily:
        trust = "; or, if you have read and trust its own Python code, model.trust_remote_code=true"
        raise UserError(
            f": transformers {metadata.version('transformers')} does not know its family (model_type "
            f"{_line(family)}), so it cannot be trained; a newer one may{trust if 'auto_map' in values else ''}. For "
            "train=none and an engine that knows it, the shape may be typed: SHAPE"
        ) from None
    except MemoryError:
        raise UserError(
            f": a model of its config.json takes more than {MEMORY / 2**30:.0f} GiB without any weight; are its "
            "numbers right? If so, give the shape: SHAPE"
        ) from None
    except Exception as error:  # whatever a family's own code makes of wrong numbers
        if trust_remote_code is False and known_errors.NEEDS_REMOTE_CODE.search(error):
            raise UserError(f" {reason_for(source, error)}; or give the shape: SHAPE") from None
        raise UserError(
            f": no {_line(family)} can be built of its config.json ({type(error).__name__}: {_line(error)}); if it is "
            "right, give the shape: SHAPE"
        ) from None
    shape.read_from = digest
    return Found(shape, measured_shape.ignored_names(model), notes)


def _limit_memory() -> None:
    """Let an absurd config end in a MemoryError instead of filling the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def weights_differ(folder: Path, found: Found) -> Iterator[str]:
    """A line where the safetensors files of a local folder are not all there, or hold another number of weights."""
    if missing := safetensors_header.missing_shards(folder):
        yield f"{_line(missing[0])}, which its index of weights names, is not there"
        return
    try:
        held = safetensors_header.weights_in(folder, found.ignored) if folder.is_dir() else None
    except safetensors_header.NotComparable:
        return
    except (OSError, ValueError) as error:
        yield f"its weight files cannot be read ({_line(error)})"
        return
    computed = found.shape.parameters
    if held is not None and abs(held - computed) > TOLERANCE * computed:
        yield (
            f"its config.json makes a model of {computed:,} weights, and its safetensors files hold {held:,}: do they "
            "belong together? The plan takes the first number; model.shape.total is another"
        )


if __name__ == "__main__":
    sys.exit(main())
