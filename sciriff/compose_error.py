"""Hydra's and OmegaConf's complaints about a command line, as one line with the nearest right name."""

import re

from hydra.errors import MissingConfigException

from sciriff.config import known_keys, nearest
from sciriff.config.slurm import slurm_keys

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "List": "a list"}


def explain(error: BaseException) -> str:
    """One line about a composition that failed."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option} is not known{nearest(option, error.options)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        if found[1].startswith("hydra.launcher."):
            return f"{found[1]} is not a key of the launcher{_of_which_launcher(found[1])}"
        return f"{found[1]} is not a key of the config{nearest(found[1], [*known_keys(), 'experiment'])}"
    if found := re.search(r"Key '([^']+)' (?:is )?not in (?:'(\w+)'|struct)", text):
        place = re.match(r"In '([^']+)'", text)
        names = {key.rsplit(".", 1)[-1] for key in known_keys()}
        return f"{place[1] + '.yaml: ' if place else ''}{found[1]} is not a key of the config{nearest(found[1], names)}"
    if found := re.search(r"Error merging override (\S+)", text):
        cause = str(error.__cause__ or error.__context__ or "")
        if kind := re.search(r"could not be converted to (\w+)", cause):
            return f"{found[1]}: the value must be {KINDS.get(kind[1], kind[1])}"
        return f"{found[1]}: {cause.splitlines()[0] if cause else 'the value does not fit'}"
    return " ".join(line.strip() for line in text.splitlines()[:2])


def _of_which_launcher(key: str) -> str:
    known = [f"hydra.launcher.{name}" for name in slurm_keys()]
    return "; hydra/launcher=slurm has it" if key in known else nearest(key, known)
