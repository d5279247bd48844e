"""The process group of a training: one or many processes, on CPU or GPU, through accelerate."""

import os
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object

from sciriff.config import Config
from sciriff.run.messages import show
from sciriff.run.nodes import shared_files
from sciriff.run.user_error import UserError

PATIENCE = timedelta(hours=2)
"""Timeout of a collective operation. Dead processes are noticed at once; this allows for writing large files."""


class Workers:
    """This process and its rank among those that train; `accelerator` is accelerate's own handle."""

    def __init__(self, config: Config) -> None:
        deepspeed = config.deepspeed.zero_stage > 0
        if deepspeed and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") != "true":
            raise UserError("DeepSpeed needs `accelerate launch`; the first line of the log is the whole command")
        on_gpu = torch.cuda.is_available()
        group = InitProcessGroupKwargs(timeout=PATIENCE)
        if not on_gpu and "LOCAL_RANK" in os.environ:
            # Without it accelerate takes each CPU process under DeepSpeed for the only one.
            group.backend = "gloo"
        mixed = "bf16" if config.train.precision == "bf16" or (deepspeed and config.train.precision != "fp32") else "no"
        self.accelerator = Accelerator(
            # cpu=True would turn DeepSpeed off.
            cpu=not on_gpu and not deepspeed,
            mixed_precision=mixed,
            kwargs_handlers=[group],
        )
        self.rank: int = self.accelerator.process_index
        self.count: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device

    def log(self, text: str) -> None:
        """Print a line to the log, on rank 0 only."""
        if self.rank == 0:
            show(text)

    def sum(self, values: Iterable[float]) -> list[float]:
        """Return the sums over all ranks, element by element, in float64."""
        mine = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        if self.count > 1:
            torch.distributed.all_reduce(mine)
        return mine.tolist()

    def gather(self, items: list[Any]) -> list[Any]:
        """Return the items of all ranks, in rank order."""
        return gather_object(items) if self.count > 1 else items

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return self.gather([value] if self.rank == 0 else [])[0]

    def wait_for_files(self, *paths: Path) -> None:
        """Wait until every rank sees those of `paths` that rank 0 sees. UserError if one never does."""
        shared_files.wait_for(self.broadcast([path for path in paths if path.exists()]))

    def wait_until_agreed(self, path: Path) -> None:
        """Wait until all ranks see the file or none does. UserError if they never agree."""
        give_up_at = time.monotonic() + shared_files.PATIENCE
        while self.sum([(here := shared_files.is_here(path)) != self.broadcast(here)])[0]:
            if time.monotonic() > give_up_at:
                problem = f"{path} is seen on some nodes and not on others"
                raise UserError(f"{problem}: run_dir must be on a file system that all nodes share")
            time.sleep(0.2)

    def barrier(self) -> None:
        """Wait until every rank calls this."""
        self.accelerator.wait_for_everyone()

    def leave(self) -> None:
        """Leave the process group; nothing may follow."""
        self.barrier()
        self.accelerator.end_training()
