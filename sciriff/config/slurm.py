"""hydra/launcher=slurm: what Slurm is asked for, for each job of a sweep. No key of it makes another run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sciriff.config.checks import check, nearest
from sciriff.config.roles import setting, setting_of
from sciriff.run.machine import GPU_TYPES
from sciriff.run.user_error import UserError


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """sbatch's options, with underscores for dashes, typed as `hydra.launcher.KEY=VALUE`; null leaves one out."""

    nodes: int = setting(MISSING, least=1)
    """Nodes for each job."""
    time: str
    """Time limit of each job: minutes, `HH:MM:SS` or `D-HH:MM:SS`. Longer runs are requeued (`signal`)."""
    at_once: int | None = setting(MISSING, least=1)
    """Jobs of the sweep that run at the same time (`--array=...%N`); null is as many as the cluster has room for."""
    account: str | None
    partition: str | None
    qos: str | None
    gpus_per_node: str | None
    """A number, or a type that the cluster knows with a number, `h100:4`. What does not fit there is refused before it
    is queued, if plan.gpu knows the type or names it."""
    cpus_per_task: int | None = setting(MISSING, least=1)
    """For one driver on each node; `exclusive` gives all of them."""
    mem: str | None
    """Memory of each node, such as `64G`; 0 is all."""
    exclusive: bool
    """Whole nodes. With false, name gpus_per_node, cpus_per_task and mem."""
    signal: int = setting(MISSING, least=1)
    """Seconds before the end of `time` at which training writes a checkpoint and the job goes back into the queue.
    Slurm may be a minute early."""
    sbatch: list[str] = setting(MISSING, runs_or_sends=True)
    """Further options as sbatch takes them: `["--constraint=a100","--mail-type=END"]`, with the quotes."""
    setup: list[str] = setting(MISSING, runs_or_sends=True)
    """Lines of shell before the command: `["module load cuda","export NCCL_SOCKET_IFNAME=ib0"]`."""
    python: str | None = setting(MISSING, runs_or_sends=True)
    """The interpreter; null is the one that the sweep itself runs in."""

    def __post_init__(self) -> None:
        for known in fields(self):
            check(f"hydra.launcher.{known.name}", getattr(self, known.name), setting_of(known))
        if not self.time or not set(self.time) <= set("0123456789:-"):
            raise UserError(f"hydra.launcher.time={self.time} must be minutes, HH:MM:SS or D-HH:MM:SS")
        for option in self.sbatch:
            if not option.startswith("-"):
                raise UserError(f"hydra.launcher.sbatch: {option} is no option of sbatch; start it with a dash")
        if self.gpus is not None and self.gpus < 1:
            raise UserError(f"hydra.launcher.gpus_per_node={self.gpus_per_node} must be 1 or more, or null")

    @property
    def gpus(self) -> int | None:
        """GPUs of each node; None without a request."""
        if self.gpus_per_node is None:
            return None
        number = self.gpus_per_node.rpartition(":")[2]
        return int(number) if number.isdecimal() else 1  # a type alone means one GPU

    @property
    def gpu(self) -> str | None:
        """Type of these GPUs, if the plan knows it."""
        kind = (self.gpus_per_node or "").partition(":")[0]
        return kind if kind in GPU_TYPES else None


def slurm_config(given: Mapping[str, Any]) -> SlurmConfig:
    """The checked keys of conf/hydra/launcher/. UserError names one that is unknown, missing or wrong."""
    if unknown := [key for key in given if key not in SLURM_KEYS]:
        raise UserError(f"hydra.launcher.{unknown[0]} is not a key of the launcher{nearest(unknown[0], SLURM_KEYS)}")
    if missing := [key for key in SLURM_KEYS if key not in given]:
        raise UserError(f"hydra.launcher.{missing[0]} is not set; conf/hydra/launcher/slurm.yaml has all keys")
    try:  # numbers that YAML made of texts become texts again
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SlurmConfig), dict(given)))
    except OmegaConfBaseException as error:
        key = str(error.full_key).partition("[")[0]
        raise UserError(f"hydra.launcher.{key}={given[key]}: {str(error).splitlines()[0]}") from None
    assert isinstance(config, SlurmConfig)
    return config


SLURM_KEYS = tuple(known.name for known in fields(SlurmConfig))
