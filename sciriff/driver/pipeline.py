"""Which stages run, in what order, each as a child process; finished ones are skipped, interrupted ones resume."""

import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from sciriff.config import PACKAGE, Config, load, to_yaml
from sciriff.config.trust import DIGEST, digest_of, refuse_links
from sciriff.data.mix_card import read_mix_card
from sciriff.driver.frozen_config import freeze, refuse_another
from sciriff.driver.own_tasks import makes_its_instances, tasks_of_instances, with_own_tasks
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.stage_inputs import changed
from sciriff.driver.stages import STAGES, Stage
from sciriff.driver.tracker_process import Tracker
from sciriff.mix import card_table
from sciriff.publish.record import read_published
from sciriff.results.score_tables import write_tables
from sciriff.results.scores import read_scores
from sciriff.results.summary_table import summary_lines
from sciriff.run import machine, spawn
from sciriff.run.locks import own_run
from sciriff.run.manifest import Manifest, StageRecord, damaged_output, record_outputs
from sciriff.run.messages import say, say_error, show
from sciriff.run.nodes import shared_files
from sciriff.run.nodes.cluster import Cluster, here
from sciriff.run.nodes.everywhere import START, everywhere
from sciriff.run.nodes.without_slurm import Order
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import InLines, UserError


class RunFailed(InLines):
    """A stage of a run failed; what was finished is kept."""


def run(config: Config, again: str, progress: ProgressSinceStart, wait: bool = False) -> float | None:
    """Run the active stages and return the summary mean (0-1), or None without scores. `again` is the command that
    resumes. UserError where the folder is another run's or another driver owns it, which `wait` waits for; RunFailed
    after a failed stage, spawn.Stopped after Ctrl-C."""
    say(f"{config.name}: {', '.join(config.active_stages)} in {config.run_dir}")
    run = RunDir(Path(config.run_dir))
    run.root.mkdir(parents=True, exist_ok=True)
    # large things may lie on another disk; the mix links its tokens itself
    refuse_links(run, may_lead_out={*run.cached, run.checkpoints, run.model, run.adapter})
    with own_run(run, wait):
        freeze(config, run)
        manifest = Manifest.read(run.manifest)
        progress.begins(run)
        before = tasks_of_instances(config) if makes_its_instances(config) else None
        with Tracker(config, run) as tracker:
            for stage in config.active_stages:
                tracker.tell()
                try:
                    _run_stage(STAGES[stage], config, run, manifest, again, tracker)
                except spawn.ChildFailed as error:
                    raise RunFailed(
                        *f"{error}: {error.reason}".split("\n"),
                        f"The whole log: {error.log}",
                        "What is finished is kept. Fix the cause, then resume with:",
                        f"  {again}",
                    ) from None
                if stage == "recreate" and before is not None:
                    config = with_own_tasks(config, before)
                    freeze(config, run)
    mean = None
    if config.active_stages[-1:] == ["mix"]:
        show(*card_table.lines(read_mix_card(run.mix_card)))
        say(f"the card: {run.mix_card_page}")
    if "score" in config.active_stages:
        scores = read_scores(run.scores)
        show(*summary_lines(scores))
        mean = scores["summary"]["mean"]
    if "report" in config.active_stages:
        say(f"report: {run.report}")
        if config.report.beside:
            compared = shlex.join([*config.report.beside, str(run.root)])
            say(f"differences with intervals: python -m sciriff.compare {compared}")
    for pushed in read_published(run.published) if "publish" in config.active_stages else ():
        say(f"published: {pushed['url']} ({'private' if pushed['private'] else 'public'}, {pushed['revision']})")
    return mean


def is_finished(config: Config) -> bool:
    """Whether `run` would find every stage up to date. Changes nothing."""
    run = RunDir(Path(config.run_dir))
    try:
        manifest = Manifest.read(run.manifest)
        refuse_another(config, run)
        return run.config.is_file() and all(
            (record := manifest.stages.get(stage)) is not None
            and record.status == "done"
            and not changed(record.inputs, STAGES[stage].inputs(config, run))
            and damaged_output(run.root, record.outputs) is None
            for stage in config.active_stages
        )
    except (UserError, OSError):  # a file is damaged or gone: the run will say so
        return False


def run_each_model(config: Config, models: list[str], again: str, progress: ProgressSinceStart) -> None:
    """Run each model, a folder below `predictions`, as its own run, and write tables of all. RunFailed if one fails."""
    assert config.predictions is not None
    answers, root = Path(config.predictions), Path(config.run_dir)
    finished = []
    for model in models:
        recorded = Path(config.judge.path) / model if config.judge.path else None
        judge = replace(config.judge, path=str(recorded)) if recorded and recorded.is_dir() else config.judge
        name = model.replace("/", "-")
        one = replace(config, name=name, predictions=str(answers / model), run_dir=str(root / model), judge=judge)
        try:
            run(one, again, progress)
            finished.append(RunDir(root / model))
        except (UserError, RunFailed) as error:
            say_error(error, about=f"{name}: ")
    if finished and "score" in config.active_stages:
        tables = RunDir(root).tables
        write_tables(tables, [read_scores(run_dir.scores) for run_dir in finished])
        say(f"{len(finished)} models: {tables / 'summary.tsv'}")
    if len(finished) < len(models):
        raise RunFailed(f"{len(models) - len(finished)} of {len(models)} models failed; the others went on")


def _run_stage(stage: Stage, config: Config, run: RunDir, manifest: Manifest, again: str, tracker: Tracker) -> None:
    """Run one stage, unless it is up to date. Work of a stage whose inputs have changed is removed first."""
    inputs = stage.inputs(config, run)
    record = manifest.stages.get(stage.name)
    if record is not None:
        if names := changed(record.inputs, inputs):
            say(f"{stage.name}: its {' and '.join(names)} changed, so it {stage.again}")
            _remove(stage.stale(run))
        elif record.status == "done":
            damaged = damaged_output(run.root, record.outputs)
            if damaged is None:
                say(f"{stage.name}: up to date")
                return
            say(f"{stage.name}: {damaged} is missing or changed, so it {stage.again}")
            _remove(stage.stale(run))
        else:
            say(f"{stage.name}: resumes where it {'failed' if record.status == 'failed' else 'was interrupted'}")
    tracker.begin()
    manifest.about = {
        "command": again,
        "versions": machine.versions(),
        "git": machine.git_commit(PACKAGE.parent),
        "machine": machine.describe(),
        "seeds": {"seed": config.seed, "mix.seed": config.mix.seed},
    }
    record = manifest.stages[stage.name] = StageRecord("running", inputs)
    manifest.write()
    say(f"{stage.name}: started, log in {run.log(stage.name)}")
    started = time.monotonic()
    try:
        _spawn(stage, config, run)
    except spawn.ChildFailed:
        record.status, record.seconds = "failed", round(time.monotonic() - started, 2)
        manifest.write()
        raise
    record.status, record.seconds = "done", round(time.monotonic() - started, 2)
    record.outputs = record_outputs(run.root, stage.paths(run, stage.outputs))
    manifest.write()
    say(f"{stage.name}: done in {record.seconds:.1f} s")


def _spawn(stage: Stage, config: Config, run: RunDir) -> None:
    cluster = here() if stage.on_all_nodes(config) else Cluster()
    if cluster.size > 1:
        cluster = replace(cluster, port=cluster.meeting_port())
    command, environment = stage.command(config, run, cluster)
    told = {DIGEST: digest_of(to_yaml(config).encode())}
    run.stop_request.unlink(missing_ok=True)
    if module := stage.prepares(config):
        prepare = [sys.executable, "-m", f"sciriff.{module}", str(run.root)]
        spawn.run(stage.name, prepare, run.log(module.replace(".", "-")), unlogged=told)
    try:
        with everywhere(cluster, stage.name, run, command, _read_elsewhere(stage.name, config, run)) as start:
            ask_to_stop = run.stop_request.touch if stage.stops_by_request else start.stop
            spawn.run(stage.name, start.command, run.log(stage.name), environment, ask_to_stop, start.variables | told)
    except spawn.ChildFailed:
        if lost := start.lost():
            raise spawn.Stopped(
                reason=f"the connection to node {lost} broke: it is down, or what ran there was killed"
            ) from None
        if not run.stop_request.exists():
            raise
    finally:
        asked = run.stop_request.exists()
        run.stop_request.unlink(missing_ok=True)
    if asked:  # a scheduler signalled its processes and not the driver, or another node was told to stop
        raise spawn.Stopped


def take_part(order: Order, cluster: Cluster) -> None:
    """Do the part of node `cluster.rank`, which is not the first, of a stage on nodes without Slurm."""
    stage, run = STAGES[order.stage], RunDir(Path(order.run_dir))
    command, environment = stage.command(load(run.config), run, replace(cluster, port=order.port))
    ask_to_stop = run.stop_request.touch if stage.stops_by_request else None
    told = {START: order.id, DIGEST: order.files[str(run.config)] or ""}
    name = f"{stage.name}-node-{cluster.rank}"
    spawn.run(name, command, run.log(name), environment, ask_to_stop, told)


def _read_elsewhere(stage: str, config: Config, run: RunDir) -> dict[str, str | None]:
    """Files that other nodes must see as they are here: the run's, with digests, and a model's, maybe just written."""
    files = shared_files.as_written(
        (run.config, run.accelerate, run.deepspeed, run.general_requests, run.selection_prompts)
    )
    path = config.answering_model.path
    if stage == "predict" and path and Path(path).is_dir():
        files |= {str(file): None for file in Path(path).rglob("*") if file.is_file()}
    return files


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
