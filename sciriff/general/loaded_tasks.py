"""Load the general tasks with lm-eval, with the shots, samples and metrics that the config asks for."""

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from sciriff.config import GeneralConfig
from sciriff.general.sentence_model import has_punkt
from sciriff.general.task_index import FIRST_FILTER, forbidden, task_manager
from sciriff.general.task_index import leaves as leaves_of
from sciriff.run.digest import value_digest
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line


@dataclass(frozen=True)
class LoadedTask:
    """An entry of general.tasks with its leaf tasks, as lm-eval's objects."""

    name: str
    leaves: dict[str, Any]
    weights: dict[str, float]
    """Leaf -> weight of its mean in the value of the entry: its documents, or 1 where lm-eval weighs all alike."""
    known_as: dict[str, tuple[str, ...]]
    """Leaf -> names that the tables of the config may have for it."""
    metric: str
    filter: str

    @property
    def metric_key(self) -> str:
        """`METRIC`, or `METRIC,FILTER` where the filter has a name."""
        return self.metric if self.filter == FIRST_FILTER else f"{self.metric},{self.filter}"


NOT_LOADED = (OSError, ValueError, LookupError, ImportError, AttributeError, TypeError, AssertionError, TemplateError)
"""What lm-eval raises over a task file that it cannot use; it fills in the templates for the first document."""


def load_tasks(general: GeneralConfig) -> list[LoadedTask]:
    """Load the tasks, with `datasets_at_hand.reading` in force. UserError for names, metrics and data that are not
    there, and for tasks that run what a model writes, unless general.run_code allows it: saved answers may come from
    anywhere."""
    if importlib.util.find_spec("nltk") is not None:
        import nltk

        has_punkt(nltk)  # makes a copy known, so that nothing is downloaded
    _compile_templates_once()
    manager = task_manager(general)
    found_leaves = list(leaves_of(general, manager))
    for problem in forbidden(found_leaves, general):  # loading such a task may run code already
        raise UserError(problem)
    names = {leaf.name: leaf.names for leaf in found_leaves}
    loaded = []
    for name in general.tasks:
        try:
            found = manager.load([name])
        except NOT_LOADED as error:
            reason = visible_line(" ".join(str(error).split())[:300])
            raise UserError(f"general.tasks: {name} cannot be loaded ({type(error).__name__}: {reason})") from None
        leaves = found["tasks"]
        known_as = {leaf: names.get(leaf, (leaf, name)) for leaf in leaves}
        for leaf, task in leaves.items():
            _prepare(task, general, known_as[leaf])
        group = found.get("groups", {}).get(name)
        sizes = {leaf: float(len(task.eval_docs)) if _by_size(group) else 1.0 for leaf, task in leaves.items()}
        wanted = general.of(general.metrics, name, *known_as[next(iter(leaves))])
        loaded.append(LoadedTask(name, leaves, sizes, known_as, *_metric(wanted, leaves)))
    return loaded


def chosen_documents(general: GeneralConfig, loaded: LoadedTask) -> dict[str, list[int]]:
    """Leaf -> positions of its documents to ask, ascending: a sample by seed, leaf and position, so that a larger limit
    contains it."""
    chosen = {}
    for leaf, task in loaded.leaves.items():
        size = len(task.eval_docs)
        limit = general.of(general.limit, *loaded.known_as[leaf])
        if limit is None or limit >= size:
            chosen[leaf] = list(range(size))
        else:
            ranked = sorted(range(size), key=lambda place: value_digest([general.seed, leaf, place]))
            chosen[leaf] = sorted(ranked[:limit])
    return chosen


def _prepare(task: Any, general: GeneralConfig, names: tuple[str, ...]) -> None:
    shots = general.of(general.shots, *names)
    if shots is not None:
        task.set_config("num_fewshot", shots)
    elif task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    if (prefix := general.of(general.prefixes, *names)) is not None:
        task.set_config("gen_prefix", prefix)
        task.fewshot_cfg.gen_prefix = prefix
    task.set_fewshot_seed(general.seed)


def _by_size(group: Any) -> bool:
    """Whether a group weights its leaves by their documents, lm-eval's default for the mean of a group."""
    if group is None or not group.aggregate_metric_list:
        return False
    return bool(group.aggregate_metric_list[0].weight_by_size)


def _metric(wanted: str | None, leaves: dict[str, Any]) -> tuple[str, str]:
    """The metric and filter that count. UserError where a leaf has no such metric, or one that is no mean."""
    from lm_eval.api.registry import get_aggregation

    mean = get_aggregation("mean")
    first = next(iter(leaves.values()))
    metrics = [metric for metric, how in first.aggregation().items() if how is mean]
    filters = [ensemble.name for ensemble in first._filters]
    metric, _, chosen = (wanted or (metrics or [""])[0]).partition(",")
    chosen = chosen or filters[0]
    for leaf, task in leaves.items():
        means = [known for known, how in task.aggregation().items() if how is mean]
        if metric not in means:
            raise UserError(
                f"general.metrics: {leaf} has no metric {metric or '?'} that is a mean over documents; it has "
                f"{', '.join(means) or 'none'}"
            )
        if chosen not in [ensemble.name for ensemble in task._filters]:
            raise UserError(
                f"general.metrics: {leaf} has no filter {chosen}; it has "
                f"{', '.join(ensemble.name for ensemble in task._filters)}"
            )
    return metric, chosen


def _compile_templates_once() -> None:
    """Keep the compiled templates of lm-eval, which compiles one anew for every document and example, half its time."""
    from lm_eval import utils

    if (templates := getattr(utils, "env", None)) is not None and not hasattr(templates.from_string, "cache_info"):
        templates.from_string = lru_cache(maxsize=4096)(templates.from_string)


def quiet() -> None:
    """Leave lm-eval's warnings and bars out of the log. Called before the first import of lm_eval."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("LMEVAL_LOG_LEVEL", "ERROR")
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
