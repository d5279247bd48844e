"""The table of stages: what each depends on, makes and keeps, and the command that starts it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sciriff.config import PACKAGE, Config
from sciriff.config import STAGES as ORDER
from sciriff.driver import stage_inputs
from sciriff.finetune import launch_files
from sciriff.run import machine
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.run_dir import RunDir

Command = Callable[[Config, RunDir, Cluster], tuple[list[str], dict[str, str]]]
"""Makes the command of a stage on one node, and the environment variables that it needs beside the driver's."""


def _module(name: str) -> Command:
    """`python -m sciriff.NAME RUN_DIR` in the driver's own interpreter."""
    return lambda config, run, nodes: ([sys.executable, "-m", f"sciriff.{name}", str(run.root)], {})


def _training(config: Config, run: RunDir, nodes: Cluster) -> tuple[list[str], dict[str, str]]:
    gpus = machine.gpus()
    return launch_files.write(config, run, len(gpus), min((gpu.memory for gpu in gpus), default=None), nodes)


def _prediction(config: Config, run: RunDir, nodes: Cluster) -> tuple[list[str], dict[str, str]]:
    python = config.engine.python or sys.executable
    environment = {} if machine.gpus() else machine.short_spins()
    if config.engine.python and (PACKAGE.parent / "pyproject.toml").is_file():
        environment["PYTHONPATH"] = str(PACKAGE.parent)  # a checkout lends itself; a wheel must be installed there
    return [python, "-m", "sciriff.predict", str(run.root)], environment


@dataclass(frozen=True)
class Stage:
    """One stage as the driver sees it."""

    name: str
    inputs: Callable[[Config, RunDir], dict[str, str]]
    """Name -> digest of what decides the outputs; the stage is skipped while these are unchanged."""
    outputs: tuple[str, ...]
    """Attributes of RunDir that the stage makes."""
    command: Command
    prepares: Callable[[Config], str | None] = lambda config: None
    """Module that runs before it on the first node, in the driver's own interpreter; its log is beside the stage's."""
    scratch: tuple[str, ...] = ()
    """Attributes of RunDir that only an interrupted stage leaves behind."""
    keeps: bool = False
    """Whether the stage itself removes rows that are no longer good: they are keyed by all that they depend on."""
    on_all_nodes: Callable[[Config], bool] = lambda config: False
    stops_by_request: bool = False
    """Whether it ends in order when RunDir.stop_request appears; others get a signal."""

    @property
    def again(self) -> str:
        """The end of a message on changed inputs."""
        return "runs again on what it has" if self.keeps else "starts afresh"

    def stale(self, run: RunDir) -> list[Path]:
        """Paths to remove when the stage starts afresh."""
        return [] if self.keeps else self.paths(run, self.outputs + self.scratch)

    def paths(self, run: RunDir, names: tuple[str, ...]) -> list[Path]:
        return [getattr(run, name) for name in names]


MIX = ("mix", "mix_card", "mix_card_page", "tokens", "validation", "validation_tokens")
MODEL = ("model", "adapter", "metrics", "selection")
_TABLE = (
    Stage("recreate", stage_inputs.of_recreate, ("recreated",), _module("recreate.in_run"), keeps=True),
    Stage("mix", stage_inputs.of_mix, MIX, _module("mix")),
    Stage(
        *("train", stage_inputs.of_training, MODEL, _training),
        prepares=lambda config: "predict.selection_prompts" if config.train.answers else None,
        scratch=("checkpoints",),
        on_all_nodes=lambda config: True,
        stops_by_request=True,
    ),
    Stage("merge", stage_inputs.of_merge, ("model",), _module("merge"), scratch=("partial_model",)),
    Stage(
        *("predict", stage_inputs.of_prediction, ("predictions", "general_answers"), _prediction),
        prepares=lambda config: "general.requests" if "general" in config.active_stages else None,
        keeps=True,
        on_all_nodes=lambda config: not config.engine.asks,
    ),
    Stage("general", stage_inputs.of_general, ("general",), _module("general"), keeps=True),
    Stage("judge", stage_inputs.of_judge, ("judgements",), _module("judge"), keeps=True),
    Stage("score", stage_inputs.of_score, ("scores", "tables", "per_instance"), _module("score")),
    Stage("report", stage_inputs.of_report, ("report", "figures"), _module("report")),
    Stage("publish", stage_inputs.of_publish, ("published",), _module("publish"), keeps=True),
)
STAGES = {stage.name: stage for stage in _TABLE}
assert tuple(STAGES) == ORDER
