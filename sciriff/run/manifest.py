"""manifest.json: inputs and outputs of each stage, by which finished work is skipped."""

import json
import sys
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from sciriff.run.digest import file_digest
from sciriff.run.typed_json import parsed_json
from sciriff.run.whole_file import write_whole

Seconds = Annotated[float, Meta(ge=0, le=sys.float_info.max)]


class OutputRecord(TypedDict):
    """A file as a stage left it."""

    bytes: int
    mtime_ns: int
    sha256: str


@dataclass
class StageRecord:
    """One stage of a run. `status` is done, failed or running; a killed stage stays running."""

    status: str
    inputs: dict[str, str]
    seconds: Seconds = 0.0
    outputs: dict[str, OutputRecord] = field(default_factory=dict)
    """By file name relative to the run folder."""


class _Stages(TypedDict):
    stages: dict[str, StageRecord]


@dataclass
class Manifest:
    """The record of a run, read when the driver starts and written when a stage starts or ends."""

    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    """Command, versions, git, machine and seeds, as of the latest start of a stage."""
    stages: dict[str, StageRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the manifest; empty if there is none yet. UserError for a broken file."""
        if not path.is_file():
            return cls(path)
        data, of_file = path.read_bytes(), (path, "a manifest", "remove it to run every stage again")
        stages = parsed_json(data, _Stages, *of_file)["stages"]
        about = parsed_json(data, dict[str, Any], *of_file)
        del about["stages"]
        return cls(path, about, stages)

    @property
    def is_over(self) -> bool:
        """Whether all started stages are done."""
        return all(stage.status == "done" for stage in self.stages.values())

    def write(self) -> None:
        """Replace the file; a kill leaves the old or the new one."""
        values = {**self.about, "stages": {name: vars(record) for name, record in self.stages.items()}}
        write_whole(self.path, json.dumps(values, indent=2) + "\n")


def record_outputs(root: Path, paths: list[Path]) -> dict[str, OutputRecord]:
    """Record size, time and digest of every file among and below `paths`."""
    outputs: dict[str, OutputRecord] = {}
    for path in chain.from_iterable(sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths):
        if path.is_file():
            stat, name = path.stat(), path.relative_to(root).as_posix()
            outputs[name] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": file_digest(path)}
    return outputs


def damaged_output(root: Path, outputs: dict[str, OutputRecord]) -> str | None:
    """Return the first output that is missing or differs from its record. Reads no file of the same size and time."""
    for name, record in outputs.items():
        path = root / name
        if not path.is_file():
            return name
        stat = path.stat()
        if stat.st_size != record["bytes"]:
            return name
        if stat.st_mtime_ns != record["mtime_ns"] and file_digest(path) != record["sha256"]:
            return name
    return None
