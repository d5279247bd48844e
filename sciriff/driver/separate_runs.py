"""Each job of a sweep is a run in a folder of its own: where two would have the same, there is a line that says why."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from sciriff.config import KEYS
from sciriff.driver import compose_error
from sciriff.driver.run_name import default_name, typed_overrides
from sciriff.run.user_error import UserError


def composed_job(loader: ConfigLoader, master: DictConfig, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """One job of a sweep, composed and named as in a process of its own, and what it is given."""
    composed = loader.load_sweep_config(master, list(overrides))
    typed = typed_overrides(composed.hydra)
    if composed.name is None:
        composed.name = default_name(composed.hydra)
    with open_dict(composed):
        del composed["hydra"]
    return composed, typed


def refuse_shared(loader: ConfigLoader, master: DictConfig) -> None:
    """UserError where two jobs of a sweep over all that was typed would be one run. What a user typed that cannot be
    composed is left to the sweeper, which says so when it composes all jobs itself."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # loads what only a sweep needs

    overrides = typed_overrides(master.hydra)
    try:
        typed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        [jobs] = BasicSweeper.split_arguments(typed, None)
        composed = [composed_job(loader, master, job) for job in jobs] if len(jobs) > 1 else []
        runs = [(str(Path(config.run_dir).absolute()), given) for config, given in composed]
    except (HydraException, OmegaConfBaseException):
        return
    except (ValueError, AssertionError) as error:
        if compose_error.in_hydra(error, overrides) is None:
            raise
        return
    seen: dict[str, list[str]] = {}
    for run_dir, given in runs:
        if (other := seen.setdefault(run_dir, given)) is not given:
            raise UserError(shared(run_dir, other, given))


def fixed(overrides: Iterable[str]) -> str | None:
    """The key by which all jobs of a sweep get the same folder; None where none does."""
    typed = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if "$" in typed.get("run_dir", ""):
        return None
    return next((key for key in ("run_dir", "name") if "$" not in typed.get(key, "$")), None)


def one_for_all(key: str) -> str:
    """Why run_dir= or name= as it was typed is not for a sweep."""
    line = f"{key}= is one folder for all jobs of a sweep; leave it out, and each job gets its own"
    return f"{line}, or keep ${{name}} in it: 'run_dir=FOLDER/${{name}}'" if key == "run_dir" else line


def shared(run_dir: str, one: Sequence[str], other: Sequence[str]) -> str:
    """Why two jobs with these overrides have one folder, and what to do."""
    if key := fixed(other):
        return one_for_all(key)
    differing = [[override for override in a if override not in b] for a, b in ((one, other), (other, one))]
    if not any(differing):
        return f"two jobs of this sweep are the same, {' '.join(one)}; leave one out"
    first, second = (" ".join(overrides) or "nothing" for overrides in differing)
    key = (differing[1] or differing[0])[0].lstrip("+").partition("=")[0]
    known = list(KEYS)
    can_name = key in known and not any(name.startswith(f"{key}.") for name in known) and "/" not in first + second
    way = (
        f"give each a folder: 'run_dir=runs/${{name}}-${{{key}}}'"
        if can_name
        else "run each with a run_dir= of its own"
    )
    return (
        f"two jobs of this sweep would be one run, {run_dir}: one has {first}, the other {second}, and a run's name "
        f"does not tell these apart; leave one out, or {way}"
    )
