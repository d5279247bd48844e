"""Turn what Hydra composed into the config of a run: named, checked, and its paths absolute."""

from operator import attrgetter
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from sciriff.config import KEYS, Config, EvalConfig, from_container, read
from sciriff.config.own_tasks import check_own_tasks
from sciriff.data.task_card import own_tasks
from sciriff.driver.run_name import default_name, typed_overrides
from sciriff.run.run_dir import RunDir


def checked(composed: DictConfig) -> Config:
    """The config of a run. UserError for what cannot be."""
    config = from_container(composed)
    for key, setting in KEYS.items():
        section, _, name = key.rpartition(".")
        part = attrgetter(section)(config) if section else config
        if setting.path and (value := getattr(part, name)) is not None:
            paths = [_absolute(path, setting.or_hub_id) for path in ([value] if isinstance(value, str) else value)]
            setattr(part, name, paths[0] if isinstance(value, str) else paths)
    config.eval.own_tasks = {**_own_tasks(config.eval, RunDir(Path(config.run_dir))), **config.eval.own_tasks}
    return config


def _own_tasks(evaluation: EvalConfig, run: RunDir) -> dict[str, str]:
    """Tasks of one's own beside the typed ones: of the folder of instances, or, where that is gone, of the run that was
    made when it was there."""
    if evaluation.path is None:
        return {}
    if not Path(evaluation.path).exists() and run.config.is_file():
        before = read(run.config)
        same = OmegaConf.select(before, "eval.path") == evaluation.path
        found = OmegaConf.select(before, "eval.own_tasks") if same else None
        tasks = {str(name): str(metric) for name, metric in (found or {}).items()}
        check_own_tasks(f"{run.config}: eval.own_tasks", tasks)
        return tasks
    return own_tasks(Path(evaluation.path))


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
