"""Copy a run's metrics, scores and files to Weights & Biases or TensorBoard; no other module talks to either.

    python -m sciriff.track RUN_DIR             copy a finished run once
    python -m sciriff.track RUN_DIR --follow    copy a run while it grows, until standard input closes

The run folder is the record and a tracker is a copy of it, so a copy that failed or was cut short is made again from
the files. With `log=offline` nothing goes over the network. Neither mode sends code, console output, git state,
environment variables or the machine's description: what is worth knowing of these is in manifest.json, which is sent.

What is killed and started again stays one run at the tracker: under the id in `wandb/run-id`, each step once. Online
the server is asked how far it is. Offline files cannot be added to, so a new attempt copies everything from the first
step into a folder of its own, and removes the earlier ones as soon as it has a step to show.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sciriff import config as configuration
from sciriff.config import Config, as_dict
from sciriff.manifest import Manifest
from sciriff.parent_death import die_with_parent
from sciriff.run_dir import RunDir
from sciriff.stage import USER_ERROR, alone, hold, is_users_mistake
from sciriff.tracked_tables import TrackedTable, tracked_tables

POLL = 1.0
"""Seconds between two looks at the files of a growing run."""

AGAIN = 60.0
"""Seconds between two tries to reach a server that is down while a run grows."""
LAST_WORDS = 100
"""Seconds after the end of a run in which the server must take what is left; the driver waits a little longer."""

NOT_A_METRIC = ("step", "steps")
TOKENS_SO_FAR = "tokens_so_far"
"""Of all steps up to this one: the other axis that curves are looked at over."""


class Unreachable(ValueError):
    """The tracker's server is down, or refuses us."""


class Sink(Protocol):
    """A tracker that has been opened for one run."""

    logged: int
    """Rows up to this step are there already; -1 when none are."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """What metrics.jsonl has of one optimizer step, its validation included."""

    def scores(self, values: dict[str, Any]) -> None:
        """The scores of the run, replacing earlier ones."""

    def file(self, path: Path) -> None:
        """A file of the run folder as it is now."""

    def table(self, table: TrackedTable) -> None:
        """A table of the run, once it is over."""


@dataclass
class Tail:
    """The whole lines of a growing JSON-lines file. One that was cut (training went back to a checkpoint) is read again
    from its start."""

    path: Path
    _offset: int = 0
    _number: int = 0
    _last: bytes = b""

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line number from 1, object) of the lines that are new. One without its newline yet is left for later."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            # The last line read is looked at again: a file can be cut and grow past its old length between two looks.
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) != self._last:
                self._offset, self._number, self._last = 0, 0, b""
                file.seek(0)
            while (line := file.readline()).endswith(b"\n"):
                self._offset, self._number, self._last = self._offset + len(line), self._number + 1, line
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{self.path}:{self._number}: not a line of JSON ({error})") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{self.path}:{self._number}: expected a JSON object, found {type(row).__name__}")
                yield self._number, row


def copy_run(run: RunDir, sink: Sink, follow: bool) -> None:
    """Copy what the run folder holds; with `follow`, also what is added until standard input closes."""
    tail = Tail(run.metrics)
    # A step is sent once its rows are complete, that is with the next step's: a validation is a row of its own, and
    # what a tracker has of a step cannot be added to later.
    held_step, held = -1, dict[str, float]()
    tokens_so_far = 0
    scores: bytes | None = None
    over = not follow
    # What lies there already may be of an earlier attempt that a stage is about to throw away, and a tracker forgets
    # nothing: so it is not copied before it has changed or the run is over.
    untouched = {path: _stamp(path) for path in (run.metrics, run.scores)}
    while True:
        untouched = {path: stamp for path, stamp in untouched.items() if stamp == _stamp(path) and not over}
        for number, row in tail.rows() if run.metrics not in untouched else ():
            step = row.get("step")
            if not isinstance(step, int):
                raise ValueError(f"{run.metrics}:{number}: step={step!r} must be a whole number")
            if step != held_step:
                _send(sink, held_step, held)
                held_step, held = step, {}
            values = {k: v for k, v in row.items() if k not in NOT_A_METRIC and _is_number(v)}
            if "tokens" in values:
                tokens_so_far = values["tokens"] + (tokens_so_far if number > 1 else 0)  # line 1: it is read again
                values[TOKENS_SO_FAR] = tokens_so_far
            held |= values
        if over:
            _send(sink, held_step, held)
        if run.scores not in untouched and run.scores.is_file() and (text := run.scores.read_bytes()) != scores:
            scores = text
            sink.scores(summary_values(run.scores, text))
        if over:
            break
        over = _closed(POLL)  # and then once more: what was written before it closed
    for table in tracked_tables(run):
        sink.table(table)
    for path in (run.mix_card, run.mix_card_page, run.manifest, run.scores, run.report):
        if path.is_file():
            sink.file(path)


def _send(sink: Sink, step: int, values: dict[str, float]) -> None:
    """One step to the tracker, unless it is there already."""
    if step > sink.logged:
        sink.step(step, values)
        sink.logged = step


def tag(name: str) -> str:
    """The name of a value of metrics.jsonl at a tracker: `train/loss`, `validation/science_loss`."""
    group, _, rest = name.partition("_")
    return f"validation/{rest}" if group == "validation" else f"train/{name}"


def summary_values(path: Path, text: bytes) -> dict[str, Any]:
    """The columns of scores.json (0-1) as flat names with the ends of their 95 % intervals and the standard deviations
    over samples, their mean and median, and how many columns these cover."""
    try:
        summary = json.loads(text)["summary"]
        values = {name: column["value"] for name, column in summary["columns"].items()}
        values |= {"mean": summary["mean"], "median": summary["median"], "columns_scored": len(values)}
        beside = summary["columns"] | {"mean": {key: summary.get(f"mean_{key}") for key in ("ci95", "sd_over_samples")}}
        for name, column in beside.items():
            if (ends := column.get("ci95")) is not None:
                values[f"{name}_ci95_low"], values[f"{name}_ci95_high"] = ends
            values[f"{name}_sd_over_samples"] = column.get("sd_over_samples")
        values["columns_missing"] = ", ".join(summary["missing"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the scores of a run ({error!r}); run the score stage again") from None
    return {name: value for name, value in values.items() if value is not None}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file was written, cut or replaced; None where there is none."""
    if not path.is_file():
        return None
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _closed(seconds: float) -> bool:
    """Wait so long, or until standard input closes; whether it has."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and not os.read(sys.stdin.fileno(), 4096):
            return True
    return False


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
    """One W&B run for the run folder, under the same id whenever it is opened again. ValueError where another process
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
        raise Unreachable(_in_a_line(error)) from error
    place = Path(handle.settings.sync_dir)
    print(f"wandb: {handle.url}" if online else f"wandb: {place}; `wandb sync` sends it", flush=True)
    status = 1
    try:
        sink = WandbSink(handle, run.root, logged=handle.step - 1, earlier=[] if online else earlier)
        yield sink
        sink.replace_earlier()
        status = int(any(stage.status != "done" for stage in Manifest.read(run.manifest).stages.values()))
    except wandb.Error as error:
        raise ValueError(_in_a_line(error)) from error
    finally:
        try:
            handle.finish(exit_code=status)
        except TimeoutError:
            raise ValueError(f"Weights & Biases: the server did not take all of it in time; {place} has it") from None


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
        raise ValueError(f"{path}: {text[:80]!r} is not the id of a W&B run; remove the file to draw a new one")
    return text


@dataclass
class TensorboardSink:
    writer: Any
    logged: int = -1

    def _add(self, step: int, values: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=k, simple_value=v) for k, v in values.items() if _is_number(v)]
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def step(self, step: int, values: dict[str, float]) -> None:
        self._add(step, {tag(name): value for name, value in values.items()})

    def scores(self, values: dict[str, Any]) -> None:
        self._add(max(self.logged, 0), {k if "/" in k else f"summary/{k}": v for k, v in values.items()})

    def text(self, tag: str, text: str) -> None:
        """A Markdown text under the tab Text."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[text.encode()])
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
        self.writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=[value])))

    def file(self, path: Path) -> None:
        """TensorBoard keeps no files; they lie beside it in the run folder."""

    def table(self, table: TrackedTable) -> None:
        """Nor tables."""


@contextlib.contextmanager
def tensorboard_sink(config: Config, run: RunDir, follow: bool) -> Iterator[TensorboardSink]:
    """Event files below RUN/tensorboard, written anew each time: several in one folder would show each step twice."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ModuleNotFoundError as error:
        raise ValueError(f"log=tensorboard: {error}; `pip install 'sciriff[tensorboard]'`, or log=none") from None
    folder = run.root / "tensorboard"
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    sink = TensorboardSink(EventFileWriter(str(folder), flush_secs=10))
    sink.text("config", "```yaml\n" + configuration.to_yaml(config) + "```")
    print(f"tensorboard --logdir {folder}", flush=True)
    try:
        yield sink
    finally:
        sink.writer.close()


SINKS: dict[str, Callable[[Config, RunDir, bool], contextlib.AbstractContextManager[Sink]]] = {
    "wandb": wandb_sink,
    "tensorboard": tensorboard_sink,
}


def copy(config: Config, run: RunDir, follow: bool) -> None:
    """Copy the run to its tracker. While it grows, a server that is down is tried again and again."""
    said = ""
    while True:
        try:
            with SINKS[config.log.tracker](config, run, follow) as sink:
                copy_run(run, sink, follow)
            return
        except Unreachable as error:
            if not follow or _closed(AGAIN):
                raise
            if str(error) != said:
                said = str(error)
                print(f"error: {said}; trying again every {AGAIN:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Exit status 0 when everything was copied; otherwise the reason is one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m sciriff.track", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    arguments = parser.parse_args()
    die_with_parent()
    run = RunDir(arguments.run_dir.resolve())
    try:
        config = configuration.load(run.config)
        if config.log.tracker != "none":
            with hold(run):
                copy(config, run, arguments.follow)
    except (ValueError, OSError) as error:
        if not is_users_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
