"""hydra/launcher=slurm: what Slurm is asked for, for each job of a sweep. No key of it makes another run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sciriff.config.checks import nearest
from sciriff.config.roles import setting
from sciriff.run.machine import GPU_TYPES
from sciriff.run.user_error import UserError

TEXTS = ("time", "account", "partition", "qos", "gpus_per_node", "mem", "python")
LISTS = ("sbatch", "setup")


@dataclass(frozen=True)
class SlurmConfig:
    """The keys are sbatch's own options with their dashes as underscores, and take what they take; null leaves one out.
    They are given as `hydra.launcher.KEY=VALUE`."""

    nodes: int
    """Nodes for each job."""
    time: str
    """Of each job: minutes, `HH:MM:SS` or `D-HH:MM:SS`. What needs longer goes back into the queue (`signal`)."""
    at_once: int | None
    """So many jobs of the sweep run at the same time (`--array=...%N`); null is as many as the cluster has room for."""
    account: str | None
    partition: str | None
    qos: str | None
    gpus_per_node: str | None
    """A number, or a kind that the cluster knows with a number, `h100:4`. What does not fit there is refused before it
    is queued, where the kind is one that plan.gpu knows, or plan.gpu says which it is."""
    cpus_per_task: int | None
    """For one driver on each node; `exclusive` gives all of them."""
    mem: str | None
    """Of each node, `64G` and the like; 0 is all."""
    exclusive: bool
    """Whole nodes. With false, name gpus_per_node, cpus_per_task and mem."""
    signal: int
    """Seconds before the end of `time` at which training writes a checkpoint and the job goes back into the queue.
    Slurm may be a minute early."""
    sbatch: list[str] = setting(MISSING, runs_or_sends=True)
    """Further options as sbatch takes them: `["--constraint=a100","--mail-type=END"]`, with the quotes."""
    setup: list[str] = setting(MISSING, runs_or_sends=True)
    """Lines of shell before the command: `["module load cuda","export NCCL_SOCKET_IFNAME=ib0"]`."""
    python: str | None = setting(MISSING, runs_or_sends=True)
    """The interpreter; null is the one that the sweep itself runs in."""

    def __post_init__(self) -> None:
        for key in ("nodes", "at_once", "cpus_per_task", "signal"):
            value = getattr(self, key)
            optional = key in ("at_once", "cpus_per_task")
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (optional and value is None) and not (whole and value >= 1):
                raise UserError(f"hydra.launcher.{key}={value} must be a whole number of 1 or more")
        if not isinstance(self.exclusive, bool):
            raise UserError(f"hydra.launcher.exclusive={self.exclusive} must be true or false")
        if not self.time or not set(self.time) <= set("0123456789:-"):
            raise UserError(f"hydra.launcher.time={self.time} must be minutes, HH:MM:SS or D-HH:MM:SS")
        for key in LISTS:
            if not isinstance(getattr(self, key), list):
                raise UserError(f"hydra.launcher.{key}={getattr(self, key)} must be a list: [...]")
        for option in self.sbatch:
            if not option.startswith("-"):
                raise UserError(f"hydra.launcher.sbatch: {option} is no option of sbatch: they begin with a dash")
        if self.gpus is not None and self.gpus < 1:
            raise UserError(f"hydra.launcher.gpus_per_node={self.gpus_per_node} must be 1 or more, or null")

    @property
    def gpus(self) -> int | None:
        """GPUs of each node, where they are asked for."""
        if self.gpus_per_node is None:
            return None
        number = self.gpus_per_node.rpartition(":")[2]
        return int(number) if number.isdecimal() else 1  # sbatch takes a kind alone for one of it

    @property
    def gpu(self) -> str | None:
        """Their kind, where it is one that the plan knows."""
        kind = (self.gpus_per_node or "").partition(":")[0]
        return kind if kind in GPU_TYPES else None


def slurm_config(given: Mapping[str, Any]) -> SlurmConfig:
    """The checked keys of conf/hydra/launcher/. UserError names one that is unknown, missing or wrong."""
    known = slurm_keys()
    for key in given:
        if key not in known:
            raise UserError(f"hydra.launcher.{key} is not a key of the launcher{nearest(key, known)}")
    if missing := [key for key in known if key not in given]:
        raise UserError(f"hydra.launcher.{missing[0]} is not set; conf/hydra/launcher/slurm.yaml has all keys")
    return SlurmConfig(**{key: _as_text(key, value) for key, value in given.items()})


def _as_text(key: str, value: Any) -> Any:
    """Texts of which YAML or the command line has made numbers are texts again."""
    if key in TEXTS and value is not None:
        return str(value)
    if key in LISTS and isinstance(value, list):
        return [str(text) for text in value]
    return value


def slurm_keys() -> tuple[str, ...]:
    """The keys of the launcher."""
    return tuple(field.name for field in dataclasses.fields(SlurmConfig))
