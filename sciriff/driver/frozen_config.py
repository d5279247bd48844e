"""The config in a run folder: written once, and which of its keys may be other ones when the run goes on."""

from omegaconf import OmegaConf

from sciriff.config import FREE_TO_CHANGE, Config, read, to_yaml
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole


def freeze(config: Config, run: RunDir) -> None:
    """Write config.yaml, or check that the folder was made with the same config. UserError names the first key that
    differs; keys that only say what to do now are replaced."""
    refuse_another(config, run)
    write_whole(run.config, to_yaml(config))


def refuse_another(config: Config, run: RunDir) -> None:
    """UserError naming the first key that differs, where the folder is another run's, or what its config lacks."""
    if not run.config.is_file():
        return
    old, new = OmegaConf.to_container(read(run.config)), OmegaConf.to_container(OmegaConf.create(to_yaml(config)))
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    if lost := [str(key) for key in new if key not in old]:
        raise UserError(
            f"{run.config} has no {lost[0]}: it is cut off, or of another version of sciriff; remove it, and this "
            "command writes it again and keeps what is finished, or choose another name=..."
        )
    if difference := _first_difference(old, new):
        key, before, now = difference
        raise UserError(
            f"{run.root} was made with {key}={before}, not {now}; choose another name=... or remove that folder"
        )


def _first_difference(old: object, new: object, key: str = "") -> tuple[str, object, object] | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**new, **old}:
            inner = f"{key}.{name}" if key else str(name)
            if inner in FREE_TO_CHANGE:
                continue
            if found := _first_difference(old.get(name), new.get(name), inner):
                return found
        return None
    return None if old == new else (key, old, new)
