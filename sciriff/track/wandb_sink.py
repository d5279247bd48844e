"""Weights & Biases as a sink.

With `log=offline` nothing goes over the network. Neither mode sends code, console output, git state, environment
variables or the machine's description: what is worth knowing of these is in manifest.json, which is sent.

What is killed and started again stays one run at the tracker: under the id in `wandb/run-id`, each step once. Online
the server is asked how far it is. Offline files cannot be added to, so a new attempt copies everything from the first
step into a folder of its own, and removes the earlier ones as soon as it has a step to show.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import alone
from sciriff.track.logged_tables import TrackedTable
from sciriff.track.sink import TrackerUnreachable, tag

LAST_WORDS = 100
"""Seconds after the end of a run in which the server must take what is left; the driver waits a little longer."""


@dataclass
class WandbSink:
    run: Any
    root: Path
    logged: int
    earlier: list[Path]
    """What earlier attempts left on the disk. Until this one has a step or scores, theirs are worth more."""

    def step(self, step: int, values: dict[str, float]) -> None:
        self.run.log({tag(name): value for name, value in values.items()}, step=step, commit=True)
        self.replace_earlier()

    def scores(self, values: dict[str, Any]) -> None:
        self.run.summary.update(values)
        self.replace_earlier()

    def replace_earlier(self) -> None:
        while self.earlier:
            path = self.earlier.pop()
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def file(self, path: Path) -> None:
        self.run.save(str(path), base_path=str(self.root), policy="now")

    def table(self, table: TrackedTable) -> None:
        import wandb

        # In the summary it makes no step of its own, and a server that has the last step already takes it too.
        self.run.summary[table.name] = wandb.Table(columns=table.columns, data=table.rows)


@contextlib.contextmanager
def wandb_sink(config: Config, run: RunDir, follow: bool) -> Iterator[WandbSink]:
    """One W&B run for the run folder, under the same id whenever it is opened again. UserError where another process
    has it open."""
    online = config.log.mode == "online"
    folder = run.tracker
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / "artifacts"),
        # Settings that older versions do not have and pass over. The system's metrics are those of the run, not of this
        # process; and a kill loses a second of an offline file, not fifteen.
        "WANDB__STATS_PID": str(os.getppid()),
        "WANDB__STATS_TRACK_PROCESS_TREE": "true",
        "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": "1",
        "WANDB_FINISH_TIMEOUT_RAISES": "true",
    }
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "60")
    if follow:
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", str(LAST_WORDS))
    if not online:  # online this is where `wandb login` keeps the user's server and entity
        os.environ["WANDB_CONFIG_DIR"] = str(folder / "config")
    import wandb

    with alone(folder / ".lock", f"{folder}: another process copies this run to Weights & Biases; wait until it ends"):
        yield from _wandb_run(wandb, config, run, follow)


def _wandb_run(wandb: Any, config: Config, run: RunDir, follow: bool) -> Iterator[WandbSink]:
    online, folder = config.log.mode == "online", run.tracker
    run_id = _run_id(folder / "run-id")
    # wandb tells folders of one second apart by a suffix. The tables of an attempt wait in staging for `wandb sync`.
    earlier = [*folder.glob(f"offline-run-*-{run_id}*"), *folder.glob("data/artifacts/staging/*")]
    try:
        handle = wandb.init(
            dir=str(run.root),
            id=run_id,
            name=config.name,
            project=config.log.project,
            entity=config.log.entity,
            group=config.log.group,
            tags=config.log.tags or default_tags(config),
            config=as_dict(config),
            mode="online" if online else "offline",
            resume="allow" if online else None,
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                symlink=False,
                x_disable_meta=True,  # it holds every SLURM_* variable, a token among them on some clusters
                x_save_requirements=False,
                x_disable_stats=not follow,  # of a copy that is made later they would be of another machine
            ),
        )
    except wandb.Error as error:
        wandb.teardown()  # its own process would not take the id a second time
        raise TrackerUnreachable(_in_a_line(error)) from error
    place = Path(handle.settings.sync_dir)
    print(f"wandb: {handle.url}" if online else f"wandb: {place}; `wandb sync` sends it", flush=True)
    status = 1
    try:
        sink = WandbSink(handle, run.root, logged=handle.step - 1, earlier=[] if online else earlier)
        yield sink
        sink.replace_earlier()
        status = 0 if Manifest.read(run.manifest).is_over else 1
    except wandb.Error as error:
        raise UserError(_in_a_line(error)) from error
    finally:
        try:
            handle.finish(exit_code=status)
        except TimeoutError:
            raise UserError(f"Weights & Biases: the server did not take all of it in time; {place} has it") from None


def _in_a_line(error: Exception) -> str:
    return f"Weights & Biases: {(str(error) or repr(error)).splitlines()[0]}"


def default_tags(config: Config) -> list[str]:
    """What a run is found by: model, and of a training its mix and method."""
    return [config.model.name] + ([config.mix.name, config.train.method] if config.train.method != "none" else [])


def _run_id(path: Path) -> str:
    """The id under which this folder is known to W&B. It is drawn once and kept, not made from the config: a run that
    was removed and trained again must not join the old one."""
    if not path.is_file():
        path.write_text(secrets.token_hex(6) + "\n")
    text = path.read_text().strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise UserError(f"{path}: {text[:80]!r} is not the id of a W&B run; remove the file to draw a new one")
    return text
