"""Check what the general tasks need. Only lm-eval knows its tasks, and the driver does not load it: a child asks."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sciriff.config import Config, as_dict
from sciriff.driver.plan.general import SCORE, leaves_of
from sciriff.run.machine import is_installed
from sciriff.run.visible import shortened, visible_line

CHECK = (sys.executable, "-m", "sciriff.general.check")
PATIENCE = 600
"""Seconds to wait for lm-eval: it reads its task files, and asks the hub for each dataset."""
LONGEST = 300
"""Characters of a child's own error that are shown."""


def only_likelihoods(config: Config) -> Iterator[str]:
    """Known tasks whose choices a server cannot be asked for by a letter."""
    general, engine = config.general, config.engine
    if not {"general", "predict"} <= set(config.active_stages) or not engine.asks:
        return
    unasked = [task for task in general.tasks if any(leaf.kind == SCORE for leaf in leaves_of(task))]
    if unasked:
        others = ",".join(task for task in general.tasks if task not in unasked)
        yield (
            f"general.tasks: {', '.join(unasked)} compares likelihoods of texts, which engine={engine.name} does not "
            f"give: {f'general.tasks=[{others}]' if others else 'general=none'} does without"
        )


def asked_of_lm_eval(config: Config, command: Sequence[str] = CHECK) -> Iterator[str]:
    """What lm-eval knows to be wrong with these tasks, one line each; nothing if it is missing, or if a problem that
    was found without it would come a second time."""
    stages, general = config.active_stages, config.general
    folders = [folder for folder in (general.data, *general.include) if folder]
    if not {"general", "predict"} <= set(stages) or not is_installed("lm_eval"):
        return
    if not all(Path(folder).exists() for folder in folders) or any(only_likelihoods(config)):
        return
    try:
        result = subprocess.run(
            command,
            input=json.dumps(as_dict(config)),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield (
            f"general.tasks: lm-eval has not checked them within {PATIENCE} s: is the hub slow? HF_HUB_OFFLINE=1 asks "
            "only its cache, general.data=FOLDER nobody, and general=none does without these tasks"
        )
        return
    yield from (visible_line(line) for line in result.stdout.splitlines() if line.strip())
    if result.returncode:
        said = [line for line in result.stderr.splitlines() if line.strip()]
        last = shortened(visible_line(said[-1].strip()), LONGEST) if said else f"status {result.returncode}"
        yield (
            f"general.tasks: lm-eval cannot check them ({last}); pip install 'sciriff[general]' brings a version that "
            "is known to work, and general=none does without these tasks"
        )
