"""The processes that train together: one or many, CPU or GPU, plain torch or DeepSpeed, through accelerate."""

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
from sciriff.run.nodes import shared_files
from sciriff.run.user_error import UserError

PATIENCE = timedelta(hours=2)
"""How long a process waits for another. One that died is noticed at once; this is for writing very large files."""


class Workers:
    """This process and its place among those that train; `accelerator` is accelerate's own handle."""

    def __init__(self, config: Config) -> None:
        deepspeed = config.deepspeed.zero_stage > 0
        if deepspeed and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") != "true":
            raise UserError("DeepSpeed needs `accelerate launch`; the first line of the log is the whole command")
        on_gpu = torch.cuda.is_available()
        group = InitProcessGroupKwargs(timeout=PATIENCE)
        if not on_gpu and "LOCAL_RANK" in os.environ:
            # Unless it is told, accelerate takes each CPU process under DeepSpeed for the only one.
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

    def say(self, text: str) -> None:
        """Print a line, once among all processes."""
        if self.rank == 0:
            print(text, flush=True)

    def total(self, values: Iterable[float]) -> list[float]:
        """The sums over all processes, element by element, in float64."""
        mine = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        if self.count > 1:
            torch.distributed.all_reduce(mine)
        return mine.tolist()

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in the order of their ranks."""
        return gather_object(items) if self.count > 1 else items

    def of_first(self, value: Any) -> Any:
        """What the first process has, in all of them."""
        return self.gather([value] if self.rank == 0 else [])[0]

    def see(self, *paths: Path) -> None:
        """Wait until every process sees those of the files and folders that the first one sees, which may have just
        been written on its node. UserError where one never does."""
        shared_files.wait_for(self.of_first([path for path in paths if path.exists()]))

    def agree_on(self, path: Path) -> None:
        """Wait until all processes see a file or none does: it may have just been removed on another node. UserError
        where they never agree."""
        give_up_at = time.monotonic() + shared_files.PATIENCE
        while self.total([(here := shared_files.is_here(path)) != self.of_first(here)])[0]:
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"{path} is seen on some nodes and not on others: run_dir must be on a file system "
                    "that all nodes share"
                )
            time.sleep(0.2)

    def wait(self) -> None:
        """Until every process is here."""
        self.accelerator.wait_for_everyone()

    def part(self) -> None:
        """Leave the group; the last thing to do."""
        self.wait()
        self.accelerator.end_training()
