"""Resumable training state: RUN/checkpoints/step-N, either whole or absent, at whatever moment the run is killed."""

import json
import shutil
from collections.abc import Callable
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


def settings(config: Config, run: RunDir) -> dict[str, Any]:
    """Return the keys that decide what is learnt, with their values; a checkpoint of other values is refused."""
    model = {key: value for key, value in as_dict(config.model).items() if key in ("path", "revision")}
    if config.model.path is None:
        model |= as_dict(config.model.shape)
    return {
        "seed": config.seed,
        **{f"model.{key}": value for key, value in model.items()},
        **{f"train.{key}": value for key, value in what_decides(config, "train").items()},
        "deepspeed.zero_stage": config.deepspeed.zero_stage,
        "the tokens' digest": tree_digest(run.tokens),
        **({"the prompts' digest": file_digest(run.selection_prompts)} if config.train.answers else {}),
    }


class Checkpoints:
    """Checkpoints of one run, each named by its number of optimizer steps. Only rank 0 renames and removes."""

    def __init__(self, run: RunDir, workers: Workers, settings: dict[str, Any]) -> None:
        self._root = run.checkpoints
        self._workers = workers
        self._settings = settings
        self._verified: set[int] = set()
        """Steps whose checkpoints this start has written or verified."""
        self.best: int | None = None
        """Step of the best model so far, whose checkpoint is kept besides the newest."""

    def folder(self, step: int) -> Path:
        return self._root / f"step-{step}"

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write step-N by calling `write(folder)` on every rank, unless this start has written or verified it; then
        remove all but the newest two and the best. OSError on all ranks if one of them could not write."""
        if step not in self._verified:
            self._write(step, write)
        if self._workers.rank == 0:
            for older in self._all()[CHECKPOINTS_KEPT:]:
                if older != self.best:
                    _remove(self.folder(older))

    def _write(self, step: int, write: Callable[[Path], None]) -> None:
        final = self.folder(step)
        partial = final.with_name(f"{final.name}.partial")
        if self._workers.rank == 0:
            self._root.mkdir(exist_ok=True)
            for leftover in self._root.glob("step-*.partial"):
                _remove(leftover)
            partial.mkdir()
        self._workers.wait_for_files(partial)
        self._write_together(partial, write)
        # Some files are visible only to the rank that wrote them yet.
        visible = [path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file()]
        share = self._share(sorted(set(self._workers.gather(visible))))
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

    def _write_together(self, partial: Path, write: Callable[[Path], None]) -> None:
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

    def newest(self) -> int | None:
        """Return the step of the newest whole checkpoint, or None; reports damaged ones. UserError as `is_whole`."""
        for step in self._workers.broadcast(self._all()):
            if self.is_whole(step):
                return step
            self._workers.log(f"{self.folder(step)} is damaged; falling back on the one before it, if there is one")
        return None

    def is_whole(self, step: int) -> bool:
        """Return whether all files of step N have their size and digest. UserError if their settings were others."""
        folder = self.folder(step)
        state = self._workers.broadcast(_read_state(folder))
        files = sorted(state["files"]) if state is not None else []
        paths = [folder / name for name, _, _ in files]
        if state is None or not self._workers.broadcast(all(path.is_file() for path in paths)):
            return False
        self._workers.wait_for_files(*paths)
        intact = all(
            path.stat().st_size == size and file_digest(path) == digest
            for name, size, digest in self._share(files)
            for path in [folder / name]
        )
        if self._workers.sum([not intact])[0]:
            return False
        self._refuse_other_settings(folder, state)
        self._verified.add(step)
        return True

    def finish(self, *, keep_newest: bool) -> None:
        """Remove all checkpoints, or all but the newest, once the model is written."""
        if self._workers.rank != 0 or not self._root.exists():
            return
        if not keep_newest:
            shutil.rmtree(self._root)
        for older in self._all()[1:]:
            _remove(self.folder(older))

    def _all(self) -> list[int]:
        """Return the steps of the checkpoints on disk, newest first."""
        numbers = [folder.name.removeprefix("step-") for folder in self._root.glob("step-*")]
        return sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)

    def _share(self, files: list[Any]) -> list[Any]:
        """Return the files that this rank digests: one process would take an hour over terabytes."""
        return files[self._workers.rank :: self._workers.count]

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
    """Remove a folder under another name, so that what a kill leaves of it is never taken for a checkpoint."""
    if folder.exists():
        doomed = folder.with_name(folder.name + ".removed")
        if doomed.exists():
            shutil.rmtree(doomed)
        shutil.rmtree(folder.rename(doomed))
