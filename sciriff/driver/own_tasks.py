"""The tasks of one's own of a run, settled when its config is composed, and again once it has made its rows itself."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sciriff.config import Config, read
from sciriff.config.own_tasks import check_own_tasks
from sciriff.data.task_card import own_tasks
from sciriff.run.run_dir import RunDir


def with_own_tasks(config: Config, before: Mapping[str, str] | None = None) -> Config:
    """The config with the tasks of its folder of instances beside those that were typed, which come first. `before` are
    those that the folder had when this was last done, and may have no longer."""
    kept = {name: metric for name, metric in config.eval.own_tasks.items() if (before or {}).get(name) != metric}
    return replace(config, eval=replace(config.eval, own_tasks={**tasks_of_instances(config), **kept}))


def tasks_of_instances(config: Config) -> dict[str, str]:
    """Task -> metric by the card of `eval.path`, or, where that folder is gone, by the config of the run that was made
    when it was there. UserError names the file and key that is wrong."""
    if config.eval.path is None:
        return {}
    folder, before = Path(config.eval.path), RunDir(Path(config.run_dir)).config
    if folder.exists() or not before.is_file():
        return own_tasks(folder)
    values = read(before).get("eval")
    found = values.get("own_tasks") if isinstance(values, dict) and values.get("path") == config.eval.path else None
    tasks = {str(name): str(metric) for name, metric in (found or {}).items()}
    check_own_tasks(f"{before}: eval.own_tasks", tasks)
    return tasks


def makes_its_instances(config: Config) -> bool:
    """Whether a stage of the run makes the folder of its instances, so that the tasks there are known only then."""
    made, path = config.recreate.out, config.eval.path
    return bool("recreate" in config.active_stages and made and path and Path(path).is_relative_to(made))
