"""Resumable training state: RUN/checkpoints/step-N, either whole or absent, at whatever moment the run is killed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import CHECKPOINTS_KEPT, Config, as_dict, what_decides
from sciriff.finetune import disk
from sciriff.finetune.workers import Workers
from sciriff.run.digest import file_digest, tree_digest
from sciriff.run.nodes import shared_files
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

STATE_FILE = "checkpoint.json"
FREE_SPACE = "Free some space and start again: training resumes from the checkpoint before it"


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    """Optimizer steps done."""


def settings(config: Config, run: RunDir) -> dict[str, Any]:
    """Return every key that decides what is learnt, with its value; a checkpoint made with other values is refused."""
    model = {key: value for key, value in as_dict(config.model).items() if key in ("path", "revision")}
    if config.model.path is None:
        model |= as_dict(config.model.shape)
    return {
        "seed": config.seed,
        **{f"model.{key}": value for key, value in model.items()},
        **{f"train.{key}": value for key, value in what_decides(config, "train").items()},
        "deepspeed.zero_stage": config.deepspeed.zero_stage,
        "the tokens' digest": tree_digest(run.tokens),
    }


class Checkpoints:
    """Checkpoints of one run. All ranks call `save` and `newest`; only rank 0 renames and removes."""

    def __init__(self, run: RunDir, workers: Workers, settings: dict[str, Any]) -> None:
        self._root = run.checkpoints
        self._workers = workers
        self._settings = settings
        self._verified: set[int] = set()
        """Steps whose checkpoints this start has written or verified."""
        self._best: int | None = None
        """Step of the best model, whose checkpoint is kept besides the newest."""

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write step-N by calling `write(folder)` on every rank, then remove all but the newest two and the best.

        Does nothing if this start has written or verified step N. OSError on all ranks if one of them could not write.
        """
        if step in self._verified:
            return
        final = self._root / f"step-{step}"
        partial = self._root / f"step-{step}.partial"
        if self._workers.rank == 0:
            self._root.mkdir(exist_ok=True)
            for leftover in self._root.glob("step-*.partial"):
                _remove(leftover)
            partial.mkdir()
        self._workers.wait_for_files(partial)
        self._write(partial, write)
        share = self._share(self._all_names(partial))
        shared_files.wait_for(partial / name for name in share)
        mine = [[name, (partial / name).stat().st_size, file_digest(partial / name)] for name in share]
        files = self._workers.gather(mine)
        if self._workers.rank == 0:
            state = {"step": step, "processes": self._workers.count, "settings": self._settings, "files": files}
            with disk.writing(partial, FREE_SPACE):
                (partial / STATE_FILE).write_text(json.dumps(state, indent=1))
            _remove(final)
            partial.rename(final)
        self._verified.add(step)
        self._prune()

    def _write(self, partial: Path, write: Callable[[Path], None]) -> None:
        """Call `write(partial)` on every rank. If one fails, all give up and the partial checkpoint is removed: a rank
        that carried on would wait for the failed one, and its own error would hide the reason."""
        reason = None
        try:
            with disk.writing(partial, FREE_SPACE):
                write(partial)
        except OSError as error:
            reason = str(error)
        reasons = [text for text in self._workers.gather([reason]) if text is not None]
        if reasons:
            if self._workers.rank == 0:
                shutil.rmtree(partial)
            self._workers.barrier()
            raise OSError(reasons[0])

    def keep_best(self, step: int, write: Callable[[Path], None]) -> None:
        """Write step-N as `save` does, and keep it until a better one is written."""
        self.save(step, write)
        self._best = step
        self._prune()

    def mark_best(self, step: int) -> None:
        """Mark step N, saved by an earlier start, as the best so far."""
        self._best = step

    def _prune(self) -> None:
        if self._workers.rank == 0:
            for older in self._all()[CHECKPOINTS_KEPT:]:
                if older.step != self._best:
                    _remove(older.folder)

    def newest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or None; reports damaged ones. UserError if its settings are others."""
        for candidate in self._workers.broadcast(self._all()):
            if self._check(candidate):
                return candidate
            self._workers.log(f"{candidate.folder} is damaged; falling back on the one before it, if there is one")
        return None

    def verified(self, step: int) -> Checkpoint | None:
        """Return the checkpoint of step N, or None if it is missing or damaged."""
        candidate = Checkpoint(self._root / f"step-{step}", step)
        return candidate if self._check(candidate) else None

    def _check(self, candidate: Checkpoint) -> bool:
        """Return whether every rank finds the files as they were written, by size and digest. UserError as `newest`."""
        state = self._workers.broadcast(_read_state(candidate.folder))
        files = sorted(state["files"]) if state is not None else []
        paths = [candidate.folder / name for name, _, _ in files]
        if state is None or not self._workers.broadcast(all(path.is_file() for path in paths)):
            return False
        self._workers.wait_for_files(*paths)
        intact = all(
            path.stat().st_size == size and file_digest(path) == digest
            for name, size, digest in self._share(files)
            for path in [candidate.folder / name]
        )
        if self._workers.sum([not intact])[0]:
            return False
        self._refuse_other_settings(candidate.folder, state)
        self._verified.add(candidate.step)
        return True

    def remove(self) -> None:
        """Remove all checkpoints."""
        if self._workers.rank == 0 and self._root.exists():
            shutil.rmtree(self._root)

    def keep_only_newest(self) -> None:
        if self._workers.rank == 0:
            for older in self._all()[1:]:
                _remove(older.folder)

    def _all(self) -> list[Checkpoint]:
        """Return the checkpoints on disk, newest first."""
        numbered = [(folder.name.removeprefix("step-"), folder) for folder in self._root.glob("step-*")]
        found = [Checkpoint(folder, int(number)) for number, folder in numbered if number.isdecimal()]
        return sorted(found, key=lambda checkpoint: -checkpoint.step)

    def _share(self, files: list[Any]) -> list[Any]:
        """Return the files that this rank digests: a single process would take an hour over terabytes. If every rank
        has written one file, it gets its own."""
        return files[self._workers.rank :: self._workers.count]

    def _all_names(self, folder: Path) -> list[str]:
        """Names of the files that all ranks have written into `folder`; some are visible only to their writer yet."""
        visible = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return sorted(set(self._workers.gather(visible)))

    def _refuse_other_settings(self, folder: Path, state: dict[str, Any]) -> None:
        saved, current = state["settings"], json.loads(json.dumps(self._settings))
        for key in sorted({**saved, **current}):
            if saved.get(key) != current.get(key):
                raise UserError(
                    f"{folder} was made with {key}={saved.get(key)}, not {current.get(key)}; "
                    f"delete {self._root} to train from the beginning, or use another run_dir"
                )


def _read_state(folder: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((folder / STATE_FILE).read_text())
    except (OSError, ValueError):
        return None
    expected = {"step", "processes", "settings", "files"}
    return state if isinstance(state, dict) and expected <= state.keys() else None


def _remove(folder: Path) -> None:
    """Rename a folder before removing it, so that the rest that a kill leaves is never taken for a whole checkpoint."""
    if folder.exists():
        doomed = folder.with_name(folder.name + ".removed")
        if doomed.exists():
            shutil.rmtree(doomed)
        shutil.rmtree(folder.rename(doomed))
