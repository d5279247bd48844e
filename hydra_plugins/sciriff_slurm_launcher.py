"""hydra/launcher=slurm. Hydra finds launchers in hydra_plugins alone, and loads this file with every command."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SlurmLauncher(Launcher):
    """The jobs of a sweep as one array in Slurm (sciriff.driver.slurm)."""

    def __init__(self, **settings: Any) -> None:
        """The settings are those of hydra.launcher in the config, where `launch` reads them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from sciriff.driver.slurm import launch  # here, so that no other command pays for it

        return launch.launch(self.config, self.context.config_loader, job_overrides, initial_job_idx)
