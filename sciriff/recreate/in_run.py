"""Build the rows as a stage of a run, before its mix: `python -m sciriff.recreate.in_run RUN_DIR`."""

from sciriff.config import Config
from sciriff.recreate.build import build
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Build what `recreate` asks for. UserError if a task failed, after the others are written."""
    if build(config.recreate, add=config.recreate.add, wait=True):
        raise UserError(
            f"some tasks could not be built, as the lines above say; the others are in {config.recreate.out}"
        )


if __name__ == "__main__":
    run_stage(main)
