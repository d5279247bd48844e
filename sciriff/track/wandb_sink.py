"""Weights & Biases sink.

With `log=offline` nothing goes over the network. Neither mode sends code, console output, git state, environment
variables or the machine's description; manifest.json, which is sent, has what matters of them.

A run that is killed and resumed stays one W&B run, under the id in `wandb/run-id`, with each step once. Online, the
server reports the last step it has. Offline files cannot be appended to, so a new attempt copies everything from the
first step into a new folder and removes the earlier ones once it has a step.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.run.locks import hold_or_refuse
from sciriff.run.manifest import Manifest
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.track.artifacts import TrackedArtifact
from sciriff.track.logged_tables import TrackedTable
from sciriff.track.sink import TrackerUnreachable, first_line

KINDS = {"mix": "dataset", "model": "model", "adapter": "model", "scores": "evaluation"}
"""Kind of an artifact -> its type at Weights & Biases."""
LONGEST_NAME = 128
FINISH_TIMEOUT = 100
"""Seconds after the end of a run to send what is left; the driver waits a little longer."""
UPLOAD_TIMEOUT = 3500
"""The same where artifacts are sent."""


@dataclass
class WandbSink:
    run: Any
    root: Path
    logged: int
    earlier: list[Path]
    """Files of earlier attempts, kept until this one has a step or scores."""

    def step(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step, commit=True)
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

        # In the summary a table makes no step of its own, and a server that already has the last step still accepts it.
        self.run.summary[table.name] = wandb.Table(columns=table.columns, data=table.rows)

    def artifact(self, artifact: TrackedArtifact) -> None:
        """An artifact that training read becomes an input of the run, any other an output, which makes the lineage."""
        import wandb

        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{self.run.name or 'run'}-{artifact.kind}")[-LONGEST_NAME:]
        made = wandb.Artifact(name, KINDS[artifact.kind], metadata=artifact.about)
        for path in artifact.files:
            made.add_file(str(path), policy="immutable", skip_cache=True)  # otherwise it is copied, twice
        if not artifact.read:
            self.run.log_artifact(made)
        elif self.run.offline:  # use_artifact refuses to work offline, though the file of the run can say it
            self.run._log_artifact(made, is_user_created=True, use_after_commit=True)
        else:
            self.run.use_artifact(made)


@contextlib.contextmanager
def wandb_sink(config: Config, run: RunDir, follow: bool) -> Iterator[WandbSink]:
    """Open the run folder's W&B run, under the same id each time. UserError if another process has it open."""
    online = config.log.mode == "online"
    folder = run.tracker
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / "artifacts"),
        # Older versions of wandb ignore these settings. System metrics are those of the driver's processes, not of this
        # one; a kill loses one second of an offline file instead of fifteen.
        "WANDB__STATS_PID": str(os.getppid()),
        "WANDB__STATS_TRACK_PROCESS_TREE": "true",
        "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": "1",
        "WANDB_FINISH_TIMEOUT_RAISES": "true",
    }
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "60")
    if follow:
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", str(UPLOAD_TIMEOUT if config.log.artifacts else FINISH_TIMEOUT))
    if not online:  # online, `wandb login` keeps the user's server and entity in the default folder
        os.environ["WANDB_CONFIG_DIR"] = str(folder / "config")
    taken = f"{folder}: another process copies this run to Weights & Biases; wait until it ends"
    with hold_or_refuse(folder / ".lock", taken), TemporaryDirectory() as empty:
        # wandb takes the server's address, too, from wandb/settings of this folder, by default the current one: that
        # of a stranger's run, if somebody is inside it, would get the key
        os.environ["WANDB_DIR"] = empty
        import wandb

        yield from _wandb_run(wandb, config, run, follow)


def _wandb_run(wandb: Any, config: Config, run: RunDir, follow: bool) -> Iterator[WandbSink]:
    online, folder = config.log.mode == "online", run.tracker
    run_id = _run_id(folder / "run-id")
    # wandb appends a suffix to folders of the same second. An attempt's tables wait in staging for `wandb sync`.
    earlier = [*folder.glob(f"offline-run-*-{run_id}*"), *folder.glob("data/artifacts/staging/*")]
    try:
        handle = wandb.init(
            dir=str(run.root),
            id=run_id,
            name=config.name and visible_line(config.name),
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
                x_disable_meta=True,  # it has every SLURM_* variable, on some clusters including a token
                x_save_requirements=False,
                x_disable_stats=not follow,  # a later copy would record another machine's
            ),
        )
    except wandb.Error as error:
        wandb.teardown()  # wandb's service process would not accept the id a second time
        raise TrackerUnreachable(_in_a_line(error)) from error
    files = Path(handle.settings.sync_dir)
    show(f"wandb: {handle.url}" if online else f"wandb: {files}; `wandb sync` sends it")
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
            raise UserError(f"Weights & Biases: the server did not take all of it in time; {files} has it") from None


def _in_a_line(error: Exception) -> str:
    return f"Weights & Biases: {first_line(error)}"


def default_tags(config: Config) -> list[str]:
    """Default tags: the model, and for a training its mix and method, for a merge its method."""
    if config.merge.method != "none":
        return [config.model.name, f"merge-{config.merge.method}"]
    return [config.model.name] + ([config.mix.name, config.train.method] if config.train.method != "none" else [])


def _run_id(path: Path) -> str:
    """The folder's W&B id, drawn at random: a run that was removed and trained again must not continue the old one."""
    if not path.is_file():
        path.write_text(secrets.token_hex(6) + "\n")
    text = path.read_text().strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise UserError(f"{path}: {text[:80]!r} is not the id of a W&B run; remove the file to get a new one")
    return text
