"""The training stage: `accelerate launch --config_file RUN/accelerate.yaml -m sciriff.finetune RUN`."""

import os

from sciriff.config import Config
from sciriff.finetune import stop_signals
from sciriff.run.messages import flush
from sciriff.run.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    stop_signals.listen(run)
    from sciriff.finetune.loop import finetune

    finetune(config, run)
    _exit()


def _exit() -> None:
    """Leave with status 0 and without the interpreter's end, since all is written: a thread of gloo that drops a tensor
    while Python is torn down aborts the process (https://github.com/pytorch/pytorch/pull/179291), and torchrun then
    calls a finished training failed."""
    flush()
    os._exit(0)


if __name__ == "__main__":
    run_stage(main)
