"""Read back what the tracker left in its offline `.wandb` file, as `wandb sync` would send it.

The file is a header of 7 bytes and then LevelDB's log: blocks of 32 KiB, in them records of wandb's own protobuf
message `Record`, a long one in pieces. wandb has no reader of it in Python, so this is one; the messages are wandb's.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import as_dict, load
from sciriff.run.run_dir import RunDir

BLOCK = 32768
HEADER = 7
"""Bytes of the file's header, and of the header of each piece."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class TrackedRun:
    """What one offline file says."""

    run_id: str
    name: str
    project: str
    group: str
    tags: list[str]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    """The rows of the curves, `_step` among their keys."""
    summary: dict[str, Any]
    system: list[dict[str, float]]
    """Samples of the system's metrics."""
    files: list[str]
    """Paths of the files to send, from the folder `files` beside this file."""
    exit_code: int | None = None
    """None where the process was killed."""

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.history]


def read_wandb(path: Path) -> TrackedRun:
    """The whole file. A torn end, as a kill leaves it, is left out."""
    return _gathered(_messages(path.read_bytes()))


def steps_written(run: RunDir) -> list[int]:
    """The steps in the newest offline file of a run, of which there may be none yet."""
    *_, newest = [None, *sorted(run.tracker.glob("offline-run-*/*.wandb"))]
    records = _messages(newest.read_bytes()) if newest else []
    return [_values(record.history.item)["_step"] for record in records if record.HasField("history")]


def offline_records(run: RunDir, kind: str) -> list[Any]:
    """The records of one kind, such as `artifact`, in the one offline file of a run."""
    records = _messages(offline_file(run).read_bytes())
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def offline_file(run: RunDir) -> Path:
    """The one offline file of a run, in its one folder."""
    (folder,) = (path for path in run.tracker.iterdir() if "run-" in path.name and path.is_dir())
    (file,) = run.tracker.rglob("*.wandb")
    assert file.parent == folder
    return file


def assert_is_a_copy_of(run: RunDir) -> None:
    """The offline run of a finished run folder is one run that has all of it: its config, every step once and in order,
    its scores with their intervals, its tables and files."""
    file = offline_file(run)
    tracked = read_wandb(file)
    assert (tracked.run_id, tracked.exit_code) == ((run.tracker / "run-id").read_text().strip(), 0)
    config = load(run.config)
    assert {key: value for key, value in tracked.config.items() if key != "_wandb"} == as_dict(config)
    assert (tracked.name, tracked.project) == (config.name, config.log.project)
    assert config.model.name in tracked.tags

    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()] if run.metrics.exists() else []
    assert tracked.steps == [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    tokens = 0
    for row, copy in zip(rows, tracked.history, strict=True):
        tokens += row["tokens"]
        assert copy["train/tokens_so_far"] == tokens
        values = {f"train/{key}": value for key, value in row.items() if type(value) in (int, float)}
        del values["train/step"], values["train/steps"]
        assert {key: copy.get(key) for key in values} == values

    scores = json.loads(run.scores.read_text())["summary"]
    columns = scores["columns"] | {"mean": {"value": scores["mean"], "ci95": scores.get("mean_ci95")}}
    for name, column in columns.items():
        copied = [tracked.summary.get(f"{name}{end}") for end in ("", "_ci95_low", "_ci95_high")]
        assert copied == [column["value"], *(column.get("ci95") or (None, None))], "one instance has no interval"

    tables = {f"tables/{path.stem}" for path in run.tables.glob("*.tsv")} | {"predictions"}
    assert {key for key, value in tracked.summary.items() if isinstance(value, dict)} == tables
    files = file.parent / "files"
    for name in tables:
        entry = tracked.summary[name]
        assert entry["path"] in tracked.files
        assert len(json.loads((files / entry["path"]).read_text())["data"]) == entry["nrows"] > 0
    wanted = [run.mix_card, run.mix_card_page] if rows else []
    for path in (*wanted, run.scores, run.manifest, run.report):
        name = path.relative_to(run.root).as_posix()
        assert name in tracked.files and (files / name).read_bytes() == path.read_bytes()


def _messages(data: bytes) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    assert data[:4] == b":W&B", "not a .wandb file"
    records, pieces, at = [], b"", HEADER
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        piece = data[at + HEADER : at + HEADER + length]
        if len(piece) < length:
            break
        assert zlib.crc32(bytes([kind]) + piece) == checksum, f"byte {at}: broken"
        pieces = piece if kind in (FULL, FIRST) else pieces + piece
        at += HEADER + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(pieces)
            records.append(record)
    return records


def _gathered(records: list[Any]) -> TrackedRun:
    found: dict[str, list[Any]] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    first, *_ = found["run"]
    config: dict[str, Any] = {}
    for change in [first.config, *found.get("config", [])]:
        config |= {item.key: json.loads(item.value_json) for item in change.update}
    summary: dict[str, Any] = {}
    for change in found.get("summary", []):
        summary |= _values(change.update)
    return TrackedRun(
        run_id=first.run_id,
        name=first.display_name,
        project=first.project,
        group=first.run_group,
        tags=list(first.tags),
        config=config,
        history=[_values(row.item) for row in found.get("history", [])],
        summary=summary,
        system=[{item.key: json.loads(item.value_json) for item in sample.item} for sample in found.get("stats", [])],
        files=[file.path for change in found.get("files", []) for file in change.files],
        exit_code=found["exit"][-1].exit_code if "exit" in found else None,
    )


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
