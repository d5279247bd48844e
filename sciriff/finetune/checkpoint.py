"""Resumable training state: RUN/checkpoints/step-N, whole or not there, whatever moment the run is killed at."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.digest import file_digest, tree_digest
from sciriff.finetune.workers import Workers
from sciriff.run_dir import RunDir

STATE_FILE = "checkpoint.json"
KEPT = 2
"""So that one that turns out to be damaged costs only the steps since the one before."""

CHANGES_NOTHING = (
    "num_processes",
    "micro_batch_tokens",
    "attention",
    "cross_entropy",
    "activation_checkpointing",
    "checkpoint_every",
    "keep_checkpoints",
)
"""Keys of `train` that do not decide what is learnt (beyond rounding): a run may go on with other values."""


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    """Optimizer steps that were done."""


def settings(config: Config, run: RunDir) -> dict[str, Any]:
    """Key -> value of all that training depends on. A checkpoint with other values belongs to another training."""
    train = {key: value for key, value in as_dict(config.train).items() if key not in CHANGES_NOTHING}
    model = {key: value for key, value in as_dict(config.model).items() if key in ("path", "revision")}
    if config.model.path is None:
        model |= as_dict(config.model.shape)
    return {
        "seed": config.seed,
        **{f"model.{key}": value for key, value in model.items()},
        **{f"train.{key}": value for key, value in train.items()},
        "deepspeed.zero_stage": config.deepspeed.zero_stage,
        "the tokens' digest": tree_digest(run.tokens),
    }


class Checkpoints:
    """The checkpoints of one run. Every process calls `save` and `newest`; rank 0 alone renames and removes."""

    def __init__(self, run: RunDir, workers: Workers, about: dict[str, Any]) -> None:
        self._root = run.checkpoints
        self._workers = workers
        self._about = about

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make step-N with what `write(folder)` writes in every process, then remove all but the newest two."""
        final = self._root / f"step-{step}"
        partial = self._root / f"step-{step}.partial"
        if self._workers.rank == 0:
            self._root.mkdir(exist_ok=True)
            _remove(partial)
            partial.mkdir()
        self._workers.wait()
        write(partial)
        self._workers.wait()
        mine = [[name, (partial / name).stat().st_size, file_digest(partial / name)] for name in self._share(partial)]
        files = self._workers.gather(mine)
        if self._workers.rank == 0:
            state = {"step": step, "processes": self._workers.count, "settings": self._about, "files": files}
            (partial / STATE_FILE).write_text(json.dumps(state, indent=1))
            _remove(final)
            partial.rename(final)
            for older in self._all()[KEPT:]:
                _remove(older.folder)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; a damaged one is named and passed over.

        ValueError where it belongs to other settings, or to another number of processes under DeepSpeed, whose files
        are one process's share each.
        """
        for candidate in self._all():
            state = _read_state(candidate.folder)
            sound = state is not None and self._is_sound(candidate.folder, state["files"])
            if self._workers.total([not sound])[0]:
                self._workers.say(f"{candidate.folder} is damaged; the one before it is used, if there is one")
                continue
            assert state is not None
            self._refuse_other_settings(candidate.folder, state)
            return candidate
        return None

    def remove(self) -> None:
        """Remove them all."""
        if self._workers.rank == 0 and self._root.exists():
            shutil.rmtree(self._root)

    def keep_only_newest(self) -> None:
        if self._workers.rank == 0:
            for older in self._all()[1:]:
                _remove(older.folder)

    def _all(self) -> list[Checkpoint]:
        """Newest first."""
        found = []
        for folder in self._root.glob("step-*"):
            number = folder.name.removeprefix("step-")
            if number.isdecimal():
                found.append(Checkpoint(folder, int(number)))
        return sorted(found, key=lambda checkpoint: -checkpoint.step)

    def _share(self, folder: Path) -> list[str]:
        """The files whose digests this process computes: reading terabytes in one process would take an hour."""
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return [name for name in names if name != STATE_FILE][self._workers.rank :: self._workers.count]

    def _is_sound(self, folder: Path, files: list[list[Any]]) -> bool:
        mine = sorted(files)[self._workers.rank :: self._workers.count]
        return all(
            (folder / name).is_file()
            and (folder / name).stat().st_size == size
            and file_digest(folder / name) == digest
            for name, size, digest in mine
        )

    def _refuse_other_settings(self, folder: Path, state: dict[str, Any]) -> None:
        then, now = state["settings"], json.loads(json.dumps(self._about))
        for key in sorted({**then, **now}):
            if then.get(key) != now.get(key):
                raise ValueError(
                    f"{folder} was made with {key}={then.get(key)}, not {now.get(key)}; "
                    f"delete {self._root} to train from the beginning, or use another run_dir"
                )
        processes = state["processes"]
        if now["deepspeed.zero_stage"] and processes != self._workers.count:
            raise ValueError(
                f"{folder} is in {processes} parts, one of each process, and there are {self._workers.count} processes "
                f"now; go on with train.num_processes={processes}, or delete {self._root} to train from the beginning"
            )


def _read_state(folder: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((folder / STATE_FILE).read_text())
    except (OSError, ValueError):
        return None
    expected = {"step", "processes", "settings", "files"}
    return state if isinstance(state, dict) and expected <= state.keys() else None


def _remove(folder: Path) -> None:
    """Remove a folder under another name, so that what a kill leaves of it is never taken for a whole one."""
    if folder.exists():
        doomed = folder.with_name(folder.name + ".removed")
        if doomed.exists():
            shutil.rmtree(doomed)
        shutil.rmtree(folder.rename(doomed))
