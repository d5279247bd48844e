"""The merging stage: `python -m sciriff.merge RUN_DIR`."""

from sciriff.config import Config
from sciriff.run.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    from sciriff.merge.write import write_merged

    write_merged(config, run)


if __name__ == "__main__":
    run_stage(main)
