"""Check names and metrics of tasks of one's own, wherever they stand: files with them may come from anybody."""

import re
from collections.abc import Mapping

from sciriff.config.checks import nearest
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.tasks import NAMES
from sciriff.tasks.own import METRICS

NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
TAKEN = re.compile(r"summary|general|samples(_.*)?", re.IGNORECASE)
"""Names that tables/summary.tsv and general.tsv, expected.json's number of samples and lm-eval's files have already."""
SHOWN = 60
"""Characters shown of a name or metric that is refused."""


def refuse_own_task(key: str, name: str) -> None:
    """UserError for a name that no task of one's own may have. `key` is what the name stands under, with its file."""
    shown = _shown(name)
    if not NAME.fullmatch(name):
        raise UserError(f"{key}: {shown!r} is no name of a task: at most 100 letters, digits, _ and -")
    if TAKEN.fullmatch(name):
        raise UserError(f"{key}: a task cannot be called {shown}, as files of a run are; choose another name")
    if name in NAMES:
        raise UserError(f"{key}: {name} is one of SciRIFF's nine held-out tasks and has its metric; leave it out here")


def refuse_metric(key: str, name: str, metric: str) -> None:
    """UserError, with the nearest name, for a metric that does not exist. `key` as in `refuse_own_task`."""
    if metric not in METRICS:
        raise UserError(f"{key}.{name}.metric: {_shown(metric)!r} is not known{nearest(metric[:SHOWN], METRICS)}")


def check_own_tasks(key: str, tasks: Mapping[str, str]) -> None:
    """UserError for the first of some tasks (name -> metric) that cannot be."""
    for name, metric in tasks.items():
        refuse_own_task(key, name)
        refuse_metric(key, name, metric)


def _shown(text: str) -> str:
    return visible_line(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
