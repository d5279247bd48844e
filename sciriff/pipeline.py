"""Which stages run, in what order, each as a child process; finished ones are skipped, interrupted ones go on."""

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sciriff import __version__, machine, spawn
from sciriff.config import DECIDES_NOTHING, HOW_TO_ASK, PACKAGE, Config, ModelConfig, as_dict, to_yaml
from sciriff.digest import file_digest, tree_digest, value_digest
from sciriff.finetune import launch_files
from sciriff.manifest import Manifest, StageRecord, damaged_output, record_outputs
from sciriff.mix import card_table
from sciriff.run_dir import RunDir
from sciriff.source_files import instances_source, source_digest, validation_split
from sciriff.summary import summary_lines
from sciriff.tables import write_tables

WHERE_AND_HOW = (
    *("engine.python", "engine.memory_fraction", "engine.replicas"),
    *(f"engine.{key}" for key in HOW_TO_ASK),
)
"""Keys on which no answer depends."""

HOW_MUCH = ("eval.tasks", "eval.limit", "eval.max_new_tokens", "eval.max_new_tokens_of", "eval.truncation")
"""Keys that say how much is asked, or how: the answers that they leave as they are stay."""

FREE_TO_CHANGE = (
    *("stages", "dry_run", "run_dir", "cache_dir", "report", "log", "plan", "judge", "eval.resamples"),
    *WHERE_AND_HOW,
    *HOW_MUCH,
    *DECIDES_NOTHING,
)
"""Keys that say what to do now, where, or how to show it, not what the run is: a folder takes other values of them. The
judge is one, since it often comes later, or with more money: its rows say whose they are."""

WAIT_FOR_WORKERS = 60.0
"""Seconds that the last worker of a killed driver has to be gone."""


class RunFailed(Exception):
    """A stage of a run failed; the message is for a person, and what was finished is kept."""


def run(config: Config, again: str, wait: bool = False) -> float | None:
    """Run the active stages and return the summary mean (0-1), or None without scores. `again` is the command that
    goes on after a failure. A folder that another driver owns is refused, or with `wait` waited for. ValueError refuses
    the folder, RunFailed tells of a stage, spawn.Stopped of Ctrl-C."""
    run = RunDir(Path(config.run_dir))
    run.root.mkdir(parents=True, exist_ok=True)
    with own(run, wait):
        freeze(config, run)
        run.stop_request.unlink(missing_ok=True)
        manifest = Manifest.read(run.manifest)
        with _tracker(config, run):
            for stage in config.active_stages:
                try:
                    _run_stage(STAGES[stage], config, run, manifest, again)
                except spawn.ChildFailed as error:
                    raise RunFailed(
                        f"{error}: {error.reason}\nThe whole log: {error.log}\n"
                        f"What is finished is kept. Once the cause is mended, this goes on from there:\n  {again}"
                    ) from None
    mean = None
    if config.active_stages[-1:] == ["mix"]:
        print(card_table.table(json.loads(run.mix_card.read_text())), flush=True)
        _say(f"the card: {run.mix_card_page}")
    if "score" in config.active_stages:
        scores = json.loads(run.scores.read_text())
        print("\n".join(summary_lines(scores)), flush=True)
        mean = scores["summary"]["mean"]
    if "report" in config.active_stages:
        _say(f"report: {run.report}")
    return mean


def run_each_model(config: Config, models: list[str], again: str) -> None:
    """A run of its own, in a folder of run_dir, for each of the models whose answers lie below `predictions` (relative
    folders), and tables of all of them beside these. Each can be compared and reported on like any run. RunFailed, in
    the end, when one of them failed; the others are not kept from theirs."""
    assert config.predictions is not None
    given, root = Path(config.predictions), Path(config.run_dir)
    finished = []
    for model in models:
        recorded = Path(config.judge.path) / model if config.judge.path else None
        judge = replace(config.judge, path=str(recorded)) if recorded and recorded.is_dir() else config.judge
        name = model.replace("/", "-")
        _say(f"{name}: {given / model}")
        one = replace(config, name=name, predictions=str(given / model), run_dir=str(root / model), judge=judge)
        try:
            run(one, again)
            finished.append(RunDir(root / model))
        except (ValueError, RunFailed) as error:
            _say(f"error: {name}: {error}")
    if finished and "score" in config.active_stages:
        tables = RunDir(root).tables
        write_tables(tables, [json.loads(run_dir.scores.read_bytes()) for run_dir in finished])
        _say(f"{len(finished)} models: {tables / 'summary.tsv'}")
    if len(finished) < len(models):
        raise RunFailed(f"{len(models) - len(finished)} of {len(models)} models failed; the others went on")


@contextlib.contextmanager
def own(run: RunDir, wait: bool = False) -> Iterator[None]:
    """Hold the run folder. A second driver is refused, or with `wait` waits for the first; the last worker of a killed
    one is waited for."""
    with run.lock.open("ab") as lock, run.workers_lock.open("ab") as workers:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise ValueError(
                    f"{run.root} is in use by another run of sciriff; wait for it, or choose name=..."
                ) from None
            _say(f"{run.root}: another run is making it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        give_up_at = time.monotonic() + WAIT_FOR_WORKERS
        while True:
            try:
                fcntl.flock(workers, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise ValueError(f"{run.root}: a stage of an earlier run is still alive; end it first") from None
                time.sleep(0.2)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


def freeze(config: Config, run: RunDir) -> None:
    """Write config.yaml, or check that the folder was made with the same config. ValueError names the first key that
    differs; keys that only say what to do now are replaced."""
    if run.config.is_file():
        old, new = OmegaConf.load(run.config), OmegaConf.create(to_yaml(config))
        assert isinstance(old, DictConfig)
        assert isinstance(new, DictConfig)
        if difference := _first_difference(OmegaConf.to_container(old), OmegaConf.to_container(new)):
            key, before, now = difference
            raise ValueError(
                f"{run.root} was made with {key}={before}, not {now}; choose another name=... or remove that folder"
            )
    partial = run.config.with_name(run.config.name + ".partial")
    partial.write_text(to_yaml(config))
    partial.replace(run.config)


def _first_difference(old: object, new: object, key: str = "") -> tuple[str, object, object] | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**new, **old}:
            inner = f"{key}.{name}" if key else str(name)
            if inner in FREE_TO_CHANGE:
                continue
            if found := _first_difference(old.get(name), new.get(name), inner):
                return found
        return None
    return None if old == new else (key, old, new)


@dataclass(frozen=True)
class Stage:
    """One stage as the driver sees it."""

    name: str
    outputs: tuple[str, ...]
    """Attributes of RunDir that the stage makes."""
    scratch: tuple[str, ...] = ()
    """Attributes of RunDir that only an interrupted stage leaves behind."""
    keeps: bool = False
    """Its rows are keyed by all that they depend on, and were paid for, so the stage itself removes what is no longer
    good."""

    @property
    def again(self) -> str:
        """What it does when its inputs have changed."""
        return "runs again on what it has" if self.keeps else "starts afresh"

    def stale(self, run: RunDir) -> list[Path]:
        """What is removed when the stage starts afresh."""
        return [] if self.keeps else self.paths(run, self.outputs + self.scratch)

    def paths(self, run: RunDir, names: tuple[str, ...]) -> list[Path]:
        return [getattr(run, name) for name in names]


STAGES = {
    stage.name: stage
    for stage in (
        Stage("mix", ("mix", "mix_card", "mix_card_page", "tokens", "validation", "validation_tokens")),
        Stage("train", ("model", "adapter", "metrics"), ("checkpoints",)),
        Stage("predict", ("predictions",), keeps=True),
        Stage("judge", ("judgements",), keeps=True),
        Stage("score", ("scores", "tables", "per_instance")),
        Stage("report", ("report", "figures")),
    )
}


def inputs(stage: str, config: Config, run: RunDir) -> dict[str, str]:
    """Name -> digest of everything that decides what a stage makes. A stage whose inputs are unchanged is not run."""
    sources = config.mix.sources
    match stage:
        case "mix":
            recipe = as_dict(replace(config.mix, path=None))
            read = [sources.sciriff, sources.tulu, sources.published]
            if config.mix.validation_rows:
                read += filter(None, map(validation_split, (sources.sciriff, sources.tulu)))
            data = [source_digest(source) for source in read]
            given = {"mix": tree_digest(Path(config.mix.path))} if config.mix.path else {"sources": value_digest(data)}
            return {
                "recipe": value_digest(recipe),
                **given,
                "evaluation prompts": _prompts_digest(config) if config.mix.overlap != "none" else "none",
                "tokenizer": _model_digest(config.model, weights=False),
            }
        case "train":
            if not run.mix.is_file():
                raise ValueError(f"{run.mix}: there is no mix yet: add mix to stages")
            return {
                "mix": file_digest(run.mix),
                "model": _model_digest(config.model, weights=True),
                "recipe": value_digest([_recipe(config), as_dict(config.deepspeed), config.seed]),
                **({"validation rows": file_digest(run.validation)} if _chooses(config, run) else {}),
            }
        case "predict":
            asking = {key: value for key, value in as_dict(config.eval).items() if key != "resamples"}
            how = {key: value for key, value in as_dict(config.engine).items() if f"engine.{key}" not in WHERE_AND_HOW}
            return {
                "model": _model_digest(config.answering_model, weights=True),
                "instances": source_digest(instances_source(config.eval)),
                "settings": value_digest([asking, how, config.seed]),
            }
        case "judge":
            judge, predictions = config.judge, Path(config.predictions) if config.predictions else run.predictions
            recorded = Path(judge.path) if judge.provider == "recorded" and judge.path else None
            return {
                "predictions": tree_digest(predictions),
                # of its settings those that decide what is asked and of whom, not how fast or at what price
                "judge": value_digest([judge.provider, judge.model, judge.temperature]),
                "recorded responses": tree_digest(recorded) if recorded else "none",
                "rules": value_digest([config.eval.parity, config.eval.tasks, config.allow_missing, __version__]),
            }
        case "score":
            predictions = Path(config.predictions) if config.predictions else run.predictions
            chosen = config.eval
            rules = [chosen.parity, chosen.tasks, chosen.resamples, config.allow_missing, __version__]
            return {
                "predictions": tree_digest(predictions),
                "judgements": tree_digest(run.judgements) if run.judgements.is_dir() else "none",
                "rules": value_digest(rules),
            }
        case "report":
            shown = [run.scores, run.metrics, run.mix_card, *(RunDir(Path(b)).scores for b in config.report.beside)]
            digests = [file_digest(path) if path.is_file() else "none" for path in shown]
            settings = [as_dict(config.report), config.name, __version__]
            predictions = Path(config.predictions) if config.predictions else run.predictions
            scored = tree_digest(run.per_instance) if run.per_instance.is_dir() else "none"
            return {
                "results": value_digest([*digests, scored]),
                "predictions": tree_digest(predictions),
                "settings": value_digest(settings),
            }
    raise AssertionError(stage)


def _chooses(config: Config, run: RunDir) -> bool:
    """Whether the validation rows decide which model is kept. Where there are none, the stage itself refuses."""
    return config.train.keep == "best" and run.validation.is_file()


def _recipe(config: Config) -> dict[str, object]:
    """The keys of `train` that decide what is made."""
    return {key: value for key, value in as_dict(config.train).items() if f"train.{key}" not in DECIDES_NOTHING}


def _prompts_digest(config: Config) -> str:
    """Digest of the prompts that the mix is compared with. What happens without them is for the mix stage to say."""
    try:
        return source_digest(instances_source(config.eval))
    except ValueError:
        return "cannot be read"


def _model_digest(model: ModelConfig, *, weights: bool) -> str:
    """What a model is, without reading its weights: of a local folder the small files' contents and the large ones'
    sizes and times, of the hub the id and revision."""
    about: list[object] = [as_dict(model)]
    for place in dict.fromkeys((model.path, model.tokenizer)):
        if place is None or not Path(place).is_dir():
            continue
        for file in sorted(p for p in Path(place).rglob("*") if p.is_file()):
            if file.suffix in (".safetensors", ".bin", ".pt", ".gguf"):
                if weights:
                    about.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])
            else:
                about.append([file.name, file_digest(file)])
    return value_digest(about)


def _run_stage(stage: Stage, config: Config, run: RunDir, manifest: Manifest, again: str) -> None:
    """Run one stage, unless it is up to date. Work of a stage whose inputs have changed is removed first."""
    given = inputs(stage.name, config, run)
    record = manifest.stages.get(stage.name)
    if record is not None:
        changed = sorted(name for name in {**given, **record.inputs} if given.get(name) != record.inputs.get(name))
        if changed:
            _say(f"{stage.name}: its {' and '.join(changed)} changed, so it {stage.again}")
            _remove(stage.stale(run))
        elif record.status == "done":
            damaged = damaged_output(run.root, record.outputs)
            if damaged is None:
                _say(f"{stage.name}: up to date")
                return
            _say(f"{stage.name}: {damaged} is missing or changed, so it {stage.again}")
            _remove(stage.stale(run))
        else:
            _say(f"{stage.name}: goes on where it {'failed' if record.status == 'failed' else 'was interrupted'}")
    manifest.about = {
        "command": again,
        "versions": machine.versions(),
        "git": machine.git_commit(PACKAGE.parent),
        "machine": machine.describe(),
        "seeds": {"seed": config.seed, "mix.seed": config.mix.seed},
    }
    manifest.stages[stage.name] = StageRecord("running", given)
    manifest.write()
    _say(f"{stage.name}: started, log in {run.log(stage.name)}")
    started = time.monotonic()
    try:
        _spawn(stage.name, config, run)
    except spawn.ChildFailed:
        manifest.stages[stage.name] = StageRecord("failed", given, round(time.monotonic() - started, 2))
        manifest.write()
        raise
    seconds = time.monotonic() - started
    outputs = record_outputs(run.root, stage.paths(run, stage.outputs))
    manifest.stages[stage.name] = StageRecord("done", given, round(seconds, 2), outputs)
    manifest.write()
    _say(f"{stage.name}: done in {seconds:.1f} s")


def _spawn(stage: str, config: Config, run: RunDir) -> None:
    log = run.log(stage)
    if stage == "train":
        gpus = machine.gpus()
        gpu_memory = min((gpu.memory for gpu in gpus), default=None)
        command, environment = launch_files.write(config, run, gpus=len(gpus), gpu_memory=gpu_memory)
        spawn.run(stage, command, log, environment, ask_to_stop=run.stop_request.touch)
        return
    python, environment = sys.executable, {}
    if stage == "predict" and not machine.gpus():
        environment |= machine.short_spins()
    if stage == "predict" and config.engine.python:
        python = config.engine.python
        if (PACKAGE.parent / "pyproject.toml").is_file():  # a checkout lends itself; a wheel must be installed there
            environment["PYTHONPATH"] = str(PACKAGE.parent)
    spawn.run(stage, [python, "-m", f"sciriff.{stage}", str(run.root)], log, environment)


@contextlib.contextmanager
def _tracker(config: Config, run: RunDir) -> Iterator[None]:
    """The one child that talks to the tracker. It follows the run's files until its standard input closes. What it
    cannot do is said and never stops the run."""
    if config.log.tracker == "none" or not {"train", "score"} & set(config.active_stages):
        yield
        return
    command = [sys.executable, "-m", "sciriff.track", str(run.root), "--follow"]
    run.log("track").parent.mkdir(parents=True, exist_ok=True)
    with run.log("track").open("a") as log:
        log.write(spawn.command_line(command, {}) + "\n")
        log.flush()
        process = spawn.popen(command, {}, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                status = process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                spawn.signal_group(process, 9)
                status = process.wait()
            if status:
                again = spawn.command_line(command[:-1], {})
                _say(f"track: the tracker failed, the run did not; see {run.log('track')}, then `{again}`")


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
