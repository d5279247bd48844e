"""Hydra's and OmegaConf's complaints about a command line, as one line with the nearest right name."""

import re
import shlex
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException

from sciriff.config import conf_dir, nearest, optional_sections, unknown_key
from sciriff.config.mix import refuse_name
from sciriff.config.slurm import SLURM_KEYS
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "List": "a list"}


EXPONENTS = {"k": 3, "m": 6, "g": 9, "b": 9}
"""Letters by which people shorten large numbers -> powers of ten."""


def explain(error: BaseException) -> str:
    """One line about a composition that failed."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if found := known_errors.AMBIGUOUS_VALUE.search(error):
        return (
            f"{found[1]}={found[2]} has a comma: a sweep over several values needs -m; a list is "
            f"{found[1]}=[{found[2]}], and one text {_quoted(found[1], found[2])}"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option} is not known{nearest(option, error.options)}"
    if found := known_errors.NO_SUCH_OVERRIDE.search(error):
        if found[1].startswith("hydra.launcher."):
            known = [f"hydra.launcher.{key}" for key in SLURM_KEYS]
            hint = "; hydra/launcher=slurm has it" if found[1] in known else nearest(found[1], known)
            return f"{found[1]} is not a key of the launcher{hint}"
        return unknown_key(found[1])
    if found := known_errors.NO_SUCH_KEY.search(error):
        if (place := re.match(r"In '(([^'/]+)[^']*)'", str(error))) is None:
            return unknown_key(found[1])
        return f"{place[1]}.yaml: {unknown_key(found[1] if place[2] == 'experiment' else f'{place[2]}.{found[1]}')}"
    if found := known_errors.BAD_OVERRIDE.search(error):
        cause = str(error.__cause__ or error.__context__ or "")
        key, _, value = found[1].partition("=")
        reason = cause.splitlines()[0] if cause else "the value does not fit"
        if kind := known_errors.WRONG_TYPE.search(cause):
            reason = f"the value must be {KINDS.get(kind[1], kind[1])}"
            if short := re.fullmatch(r"([0-9.]+) ?([kmgb])", value, re.IGNORECASE):
                reason += f", such as {key}={short[1]}e{EXPONENTS[short[2].lower()]}"
        elif known_errors.NOT_A_LIST.search(cause):
            reason = f"the value must be a list: {key}=[{value}]"
        elif known_errors.NOT_OPTIONAL.search(cause):
            reason = "it cannot be null"
        return f"{found[1]}: {reason}"
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


def in_hydra(error: BaseException, typed: Sequence[str]) -> str | None:
    """One line about what was typed and broke Hydra or OmegaConf themselves; None for another error."""
    pairs = [override.lstrip("+~").partition("=")[::2] for override in typed if "=" in override]
    if known_errors.NULL_OPTION.search(error):
        for group, value in pairs:
            options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
            if options and "null" in re.split(r"[\[\], ]+", value):
                none = f"{group}=none is, or" if "none" in options else "it is"
                others = ", ".join(option for option in options if option != "none")
                return f"{group}=null is no option; {none} one of {others}"
    if known_errors.KEY_BELOW_NULL.search(error) or known_errors.TABLE_ON_NULL.search(error):
        below = [
            (section, key)
            for section in optional_sections()
            for key, value in pairs
            if key.startswith(f"{section}.") or (key == section and value.startswith("{"))
        ]
        if below:
            sections, keys = (" or ".join(dict.fromkeys(names)) for names in zip(*below, strict=True))
            return f"{sections} is null here, so {keys} cannot be set; choose a model=... that has it"
    return None


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: what is typed must be KEY=VALUE or GROUP=OPTION"
    if wrong := _wrong_source(key.lstrip("+")):
        return wrong
    if "{{" in value and not re.match(r"\[|\{[^{]", value):  # a template
        return f"Hydra cannot read {override}; put quotes around a template: {_quoted(key, value)}"
    if re.search(r"[\[\](){},]", value):
        return f"Hydra cannot read {override}; inside a list, put quotes around what is not plain: '{key}=[\"...\"]'"
    return f"Hydra cannot read {value} as it is; put quotes inside: {_quoted(key, value)}"


def _wrong_source(key: str) -> str | None:
    """What is wrong with the name of a source in a key that Hydra cannot read."""
    if not key.startswith("mix.sources."):
        return None
    try:
        refuse_name(key.split(".")[2])
    except UserError as error:
        return str(error)
    return None


def _quoted(key: str, value: str) -> str:
    """The override with the value as one text, as a shell takes it."""
    inside = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{inside}"')
