"""The training stage: `accelerate launch --config_file RUN/accelerate.yaml -m sciriff.finetune RUN`."""

import signal

from sciriff.config import Config
from sciriff.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    # A scheduler may signal every process of a job, or of its steps alone: then all stop after the same step.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: run.stop_request.touch())
    from sciriff.finetune.loop import finetune

    finetune(config, run)


if __name__ == "__main__":
    run_stage(main)
