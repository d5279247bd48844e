"""Build the rows as a stage of a run, before its mix: `python -m sciriff.recreate.in_run RUN_DIR`."""

import json
from pathlib import Path

from sciriff.config import Config
from sciriff.recreate.build import build
from sciriff.recreate.card import CARD
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Build what `recreate` asks for. UserError if a task failed, after the others are written."""
    if build(config.recreate, add=config.recreate.add, wait=True):
        card = json.loads((Path(config.recreate.out or "") / CARD).read_text(encoding="utf-8"))
        absent = {**card["failed"], **card["not_at_hand"]}
        task, line = next(iter(absent.items()))
        raise UserError(f"{len(absent)} tasks could not be built, and the others are kept; the first: {task}: {line}")


if __name__ == "__main__":
    run_stage(main)
