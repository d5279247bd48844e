"""The training stage: `accelerate launch --config_file RUN/accelerate.yaml -m sciriff.finetune RUN`."""

from sciriff.config import Config
from sciriff.finetune import stop_signals
from sciriff.run.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    stop_signals.listen(run)
    from sciriff.finetune.loop import finetune

    finetune(config, run)


if __name__ == "__main__":
    run_stage(main)
