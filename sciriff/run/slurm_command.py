"""Run a Slurm command and return what it prints."""

import os
import shlex
import subprocess

PATIENCE = 60
"""Seconds within which Slurm's controller must answer."""


class NoAnswer(Exception):
    """A Slurm command is missing, has not ended in time or, as CommandFailed, has failed."""


class CommandFailed(NoAnswer):
    """A Slurm command ended with an error; the message has its words."""


def ask(*command: str, patience: float | None = None) -> str:
    """Return the output of a Slurm command, which may take `patience` seconds (default: PATIENCE). Else NoAnswer."""
    seconds = patience or PATIENCE
    # Without SQUEUE_FORMAT, SQUEUE_STATES and the like, which change what squeue prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)
    except FileNotFoundError:
        raise NoAnswer(f"there is no {command[0]} here") from None
    except OSError as error:
        raise NoAnswer(f"{command[0]}: {error}") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{shlex.join(command)} has not ended within {seconds} s") from None
    if result.returncode:
        lines = (result.stderr or result.stdout).splitlines()
        words = [line.removeprefix(f"{command[0]}: ").removeprefix("error: ").strip() for line in lines]
        raise CommandFailed("; ".join(filter(None, words)) or f"{command[0]}: exit status {result.returncode}")
    return result.stdout
