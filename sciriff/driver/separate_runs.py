"""Refuse a sweep of which two jobs would be one run, in one folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sciriff.config import KEYS, compose_error
from sciriff.driver.composed import named
from sciriff.driver.run_name import typed_overrides
from sciriff.run.user_error import UserError


def refuse_shared(loader: ConfigLoader, master: DictConfig) -> None:
    """UserError where two jobs of a sweep would be one run. What cannot be composed is left to the sweeper's error."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # loads what only a sweep needs

    overrides = typed_overrides(master.hydra)
    try:
        typed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        [jobs] = BasicSweeper.split_arguments(typed, None)
        composed = [named(loader.load_sweep_config(master, list(job))) for job in jobs] if len(jobs) > 1 else []
        runs = [(str(Path(config.run_dir).absolute()), given) for config, given in composed]
        pushed = [config.publish.repo for config, _ in composed if config.publish.to != "none"]
    except (HydraException, OmegaConfBaseException):
        return
    except (ValueError, AssertionError) as error:
        if compose_error.in_hydra(error, overrides) is None:
            raise
        return
    if len(set(pushed)) < len(pushed):
        raise UserError(
            f"publish.repo={pushed[0]} is one repository for several jobs of a sweep, and each would replace the "
            "other's model: put the run's name in it, 'publish.repo=USER/${name}'"
        )
    seen: dict[str, list[str]] = {}
    for run_dir, given in runs:
        if (other := seen.setdefault(run_dir, given)) is not given:
            raise UserError(shared(run_dir, other, given))


def fixed(overrides: Iterable[str]) -> str | None:
    """The key that gives all jobs of a sweep the same folder, if any."""
    typed = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if "$" in typed.get("run_dir", ""):
        return None
    return next((key for key in ("run_dir", "name") if "$" not in typed.get(key, "$")), None)


def one_for_all(key: str) -> str:
    """Message on run_dir= or name= that gives all jobs of a sweep one folder."""
    line = f"{key}= is one folder for all jobs of a sweep; leave it out, and each job gets its own"
    return f"{line}, or keep ${{name}} in it: 'run_dir=FOLDER/${{name}}'" if key == "run_dir" else line


def shared(run_dir: str, one: Sequence[str], other: Sequence[str]) -> str:
    """Message on two jobs whose overrides, `one` and `other`, give them one folder."""
    if key := fixed(other):
        return one_for_all(key)
    differing = [[override for override in a if override not in b] for a, b in ((one, other), (other, one))]
    if not any(differing):
        return f"two jobs of this sweep are the same, {' '.join(one)}; leave one out"
    first, second = (" ".join(overrides) or "nothing" for overrides in differing)
    key = (differing[1] or differing[0])[0].lstrip("+").partition("=")[0]
    way = "run each with a run_dir= of its own"
    if key in KEYS and not any(name.startswith(f"{key}.") for name in KEYS) and "/" not in first + second:
        way = f"give each a folder: 'run_dir=runs/${{name}}-${{{key}}}'"
    return (
        f"two jobs of this sweep would be one run, {run_dir}: one has {first}, the other {second}, and a run's name "
        f"does not tell these apart; leave one out, or {way}"
    )
