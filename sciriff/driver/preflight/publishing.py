"""Ask before a run whether the hub will take what it makes, in a process of its own: the driver loads no client."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import Config, MixConfig, as_dict
from sciriff.models.license import license_of
from sciriff.run.messages import say
from sciriff.run.run_dir import RunDir

PATIENCE = 60
"""Seconds to wait for the hub's answers."""
PROBLEM, NOTE = "problem: ", "note: "


def refused_push(config: Config) -> Iterator[str]:
    """Why the push at the end cannot work. What a person should know beside that is said at once, such as a hub that
    is out of reach."""
    if "mix" in config.publish.what and not config.publish.private and (unknown := _rows_without_licence(config.mix)):
        say(
            f"publish: the licence of the rows of {', '.join(unknown)} is not known, and publish.private=false shows "
            "them to everybody; mix.sources.NAME.license=... names it"
        )
    settings = json.dumps(as_dict(config.publish))
    command = [sys.executable, "-m", "sciriff.publish.check", settings, license_of(config.model) or ""]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        say(f"publish: the hub does not answer within {PATIENCE} s; the push is tried at the end")
        return
    for line in result.stdout.splitlines():
        if line.startswith(NOTE):
            say(f"publish: {line.removeprefix(NOTE)}")
        elif line.startswith(PROBLEM):
            yield line.removeprefix(PROBLEM)
    if result.returncode:
        yield f"publish=hub cannot be checked: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}"


def _rows_without_licence(mix: MixConfig) -> list[str]:
    """Names of what a mix reads from this machine without a word on its licence; those of hub datasets are looked up
    later."""
    if mix.path is not None:
        return ["mix.path"]
    return [name for name, one in mix.sources.items() if one.path and getattr(one, "license", None) is None]


def unmade(config: Config) -> Iterator[str]:
    """What is to be pushed and is neither there nor made by the stages of this run."""
    run = RunDir(Path(config.run_dir))
    makes = "merge" if config.merge.method != "none" else "train"
    made = {"model": (makes, run.model), "adapter": ("train", run.adapter), "mix": ("mix", run.mix)}
    for what in config.publish.what:
        stage, path = made[what]
        if stage not in config.active_stages and not path.exists():
            yield f"publish.what names {what}, and {path} is not there: add {stage} to stages"
