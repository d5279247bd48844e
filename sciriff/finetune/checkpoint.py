"""Resumable training state: RUN/checkpoints/step-N, whole or not there, whatever moment the run is killed at."""

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
MAKE_ROOM = "Make room and start again: training goes on from the checkpoint before it"


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    """Optimizer steps that were done."""


def settings(config: Config, run: RunDir) -> dict[str, Any]:
    """Key -> value of all that training depends on. A checkpoint with other values belongs to another training."""
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
    """The checkpoints of one run. Every process calls `save` and `newest`; rank 0 alone renames and removes."""

    def __init__(self, run: RunDir, workers: Workers, about: dict[str, Any]) -> None:
        self._root = run.checkpoints
        self._workers = workers
        self._about = about
        self._whole: set[int] = set()
        """Steps whose checkpoints were made or checked by this start."""
        self._best: int | None = None
        """The step whose checkpoint is kept besides the newest."""

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make step-N with what `write(folder)` writes in every process, then remove all but the newest two and the
        best; nothing where this start has it already. OSError in all processes where one could not write."""
        if step in self._whole:
            return
        final = self._root / f"step-{step}"
        partial = self._root / f"step-{step}.partial"
        if self._workers.rank == 0:
            self._root.mkdir(exist_ok=True)
            for leftover in self._root.glob("step-*.partial"):
                _remove(leftover)
            partial.mkdir()
        self._workers.see(partial)
        self._write_whole(partial, write)
        share = self._share(self._all_names(partial))
        shared_files.wait_for(partial / name for name in share)
        mine = [[name, (partial / name).stat().st_size, file_digest(partial / name)] for name in share]
        files = self._workers.gather(mine)
        if self._workers.rank == 0:
            state = {"step": step, "processes": self._workers.count, "settings": self._about, "files": files}
            with disk.writing(partial, MAKE_ROOM):
                (partial / STATE_FILE).write_text(json.dumps(state, indent=1))
            _remove(final)
            partial.rename(final)
        self._whole.add(step)
        self._prune()

    def _write_whole(self, partial: Path, write: Callable[[Path], None]) -> None:
        """`write(partial)` in every process. Where it fails in one, all of them give up, and the room is given back:
        a process that went on would wait for the others, and hide the reason behind an error of its own."""
        reason = None
        try:
            with disk.writing(partial, MAKE_ROOM):
                write(partial)
        except OSError as error:
            reason = str(error)
        reasons = [text for text in self._workers.gather([reason]) if text is not None]
        if reasons:
            if self._workers.rank == 0:
                shutil.rmtree(partial)
            self._workers.wait()
            raise OSError(reasons[0])

    def keep_best(self, step: int, write: Callable[[Path], None]) -> None:
        """Make step-N as `save` does, and keep it until a better one comes."""
        self.save(step, write)
        self._best = step
        self._prune()

    def keep_still(self, step: int) -> None:
        """Step N, of an earlier start, is the best so far."""
        self._best = step

    def _prune(self) -> None:
        if self._workers.rank == 0:
            for older in self._all()[CHECKPOINTS_KEPT:]:
                if older.step != self._best:
                    _remove(older.folder)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; a damaged one is named and passed over.

        UserError where it belongs to other settings.
        """
        for candidate in self._workers.of_first(self._all()):
            if self._check(candidate):
                return candidate
            self._workers.say(f"{candidate.folder} is damaged; the one before it is used, if there is one")
        return None

    def whole(self, step: int) -> Checkpoint | None:
        """The checkpoint of step N, if it is there and whole."""
        candidate = Checkpoint(self._root / f"step-{step}", step)
        return candidate if self._check(candidate) else None

    def _check(self, candidate: Checkpoint) -> bool:
        """Whether it is whole, by its digests, in the eyes of every process. UserError as `newest`."""
        state = self._workers.of_first(_read_state(candidate.folder))
        files = sorted(state["files"]) if state is not None else []
        paths = [candidate.folder / name for name, _, _ in files]
        if state is None or not self._workers.of_first(all(path.is_file() for path in paths)):
            return False
        self._workers.see(*paths)
        sound = self._is_sound(candidate.folder, self._share(files))
        if self._workers.total([not sound])[0]:
            return False
        self._refuse_other_settings(candidate.folder, state)
        self._whole.add(candidate.step)
        return True

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

    def _share(self, files: list[Any]) -> list[Any]:
        """Those of all files whose digests this process computes: reading terabytes in one process would take an hour.
        Where each process has written one, it is its own."""
        return files[self._workers.rank :: self._workers.count]

    def _all_names(self, folder: Path) -> list[str]:
        """The files in a folder into which every process has written, some of which only their writer may see yet."""
        seen = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return sorted(set(self._workers.gather(seen)))

    def _is_sound(self, folder: Path, files: list[list[Any]]) -> bool:
        return all(
            (folder / name).stat().st_size == size and file_digest(folder / name) == digest
            for name, size, digest in files
        )

    def _refuse_other_settings(self, folder: Path, state: dict[str, Any]) -> None:
        then, now = state["settings"], json.loads(json.dumps(self._about))
        for key in sorted({**then, **now}):
            if then.get(key) != now.get(key):
                raise UserError(
                    f"{folder} was made with {key}={then.get(key)}, not {now.get(key)}; "
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
    """Remove a folder under another name, so that what a kill leaves of it is never taken for a whole one."""
    if folder.exists():
        doomed = folder.with_name(folder.name + ".removed")
        if doomed.exists():
            shutil.rmtree(doomed)
        shutil.rmtree(folder.rename(doomed))
