"""Turn what Hydra composed into the config of a run: named, checked, its paths absolute and its model's shape known."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from sciriff.config import Config, from_container, keys_of
from sciriff.driver.model_shape import with_shape
from sciriff.driver.own_tasks import with_own_tasks
from sciriff.driver.run_name import default_name, typed_overrides
from sciriff.models import mergeable


def checked(composed: DictConfig) -> Config:
    """The config of a run. UserError for what cannot be."""
    config = from_container(composed)
    for _, setting, part, name in keys_of(config):
        if setting.path and (value := getattr(part, name)) is not None:
            paths = [_absolute(path, setting.or_hub_id) for path in ([value] if isinstance(value, str) else value)]
            setattr(part, name, paths[0] if isinstance(value, str) else paths)
    if "merge" in config.active_stages:
        mergeable.check(config.merge, config.model)
    return with_shape(with_own_tasks(config), _typed_context(composed))


def _typed_context(composed: DictConfig) -> int | None:
    """The longest sequence, where it alone was given of a shape that is to be read."""
    shape = composed.model.get("shape")
    return None if shape is None or OmegaConf.is_missing(shape, "context") else shape.context


def _absolute(path: str, or_hub_id: bool) -> str:
    place = Path(path).expanduser()
    return path if or_hub_id and not place.exists() else str(place.absolute())


def named(composed: DictConfig) -> tuple[DictConfig, list[str]]:
    """Name a composed job by default and remove Hydra's own section. Returns the job and its typed overrides."""
    typed = typed_overrides(composed.hydra)
    if composed.name is None:
        composed.name = default_name(composed.hydra)
    with open_dict(composed):
        del composed["hydra"]
    return composed, typed
