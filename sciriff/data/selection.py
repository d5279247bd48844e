"""The prompts by whose scores the best model is chosen: where they come from, and their file. Light: the driver too
asks where they come from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from sciriff.config import (
    BEST_FROM,
    REPORTED,
    TASK_MEAN,
    TRAIN_SPLIT,
    VALIDATION_ROWS,
    Config,
    EvalConfig,
    SourceConfig,
)
from sciriff.data.source_files import SUFFIXES, instances_source
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import read_json
from sciriff.run.user_error import UserError

TRAIN = "train"
CHOSEN_FILE = "chosen_by.json"
"""File of a model's folder about the prompts that it was chosen by."""


class Chosen(TypedDict):
    """The whole file."""

    best_by: str
    instances: list[str]
    """Ids of the instances."""


class SelectionPrompt(TypedDict):
    """One prompt, in the form of an instance of SciRIFF too."""

    _instance_id: str
    input: str
    output: str
    metric: str | None
    """The metric (METRICS) of a task that is not one of the nine."""
    ids: list[int]
    """The prompt's tokens with its markup."""
    limit: int
    """Most tokens of its answer."""
    thinking: int
    """Most tokens of a thought besides; with 0 both have the limit together."""


def origin_of_prompts(config: Config) -> str:
    """Where the prompts of train.best_by=task_mean come from, one of BEST_FROM. UserError if there are none there, or
    none but those that the run reports, which are taken only where they are asked for by name."""
    wanted = config.train.best_from
    reasons = {
        TRAIN_SPLIT: None if wanted == REPORTED else _no_train_split(config),
        VALIDATION_ROWS: _no_validation_rows(config),
        REPORTED: None,
    }
    if wanted is not None:
        if (reason := reasons[wanted]) is not None:
            raise UserError(f"train.best_from={wanted}: {reason}")
        return wanted
    for origin in (TRAIN_SPLIT, VALIDATION_ROWS):
        if reasons[origin] is None:
            return origin
    raise UserError(
        f"train.best_by=task_mean has no prompts but those that are reported ({reasons[TRAIN_SPLIT]}; "
        f"{reasons[VALIDATION_ROWS]}): give mix.validation_rows=N; or choose by the reported ones with "
        f"train.best_from={REPORTED}, and every score will say so"
    )


def chosen_by(config: Config, run: RunDir) -> set[str]:
    """Ids of the instances by whose scores the model that answers was chosen, or one that it was made of: by this run,
    or by another, as the folder of its model tells."""
    if config.predictions is not None:
        return set()
    if config.eval.model is not None or not config.makes_model:
        return _chosen(config.answering_model.path)
    return _in_making(config, run)


def write_chosen(config: Config, run: RunDir, model: Path) -> None:
    """Write CHOSEN_FILE into the folder of the run's model, if prompts have chosen it or what it was made of."""
    if ids := _in_making(config, run):
        chosen = Chosen(best_by=TASK_MEAN, instances=sorted(ids))
        (model / CHOSEN_FILE).write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")


def _in_making(config: Config, run: RunDir) -> set[str]:
    """Ids of the instances that chose the model which a run makes, or a model that it makes it of."""
    own = {row["_instance_id"] for row in prompts_of(run)} if config.train.answers else set()
    parts = [config.model.path] if config.merge.method == "none" else config.merge.models
    return own.union(*map(_chosen, parts))


def prompts_of(run: RunDir) -> list[SelectionPrompt]:
    """The prompts that a run chooses its best model by; none where there are none."""
    path = run.selection_prompts
    return list(read_jsonl(path, SelectionPrompt)) if path.is_file() else []


def _chosen(path: str | None) -> set[str]:
    """What the folder of a model, or of a run with one, tells."""
    for folder in (Path(path), RunDir(Path(path)).model) if path is not None else ():
        if (file := folder / CHOSEN_FILE).is_file():
            found = read_json(file, Chosen, "the prompts that a model was chosen by", "remove the file")
            return set(found["instances"])
    return set()


def train_split(evaluation: EvalConfig) -> SourceConfig | None:
    """The held-out tasks' rows to train on, beside those that are reported: files named after the split, or a hub's,
    which may not exist; None where there are none, or where they are the ones that are reported."""
    source = instances_source(evaluation)
    if evaluation.split == TRAIN:
        return None
    if source.path is not None:
        path = Path(source.path).expanduser()
        names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
        if not any(name.startswith(TRAIN) and name.endswith(SUFFIXES) for name in names):
            return None
    return replace(source, split=TRAIN)


def _no_train_split(config: Config) -> str | None:
    """Why the held-out tasks' train split cannot be taken; None if it can."""
    if train_split(config.eval) is None and not _will_be_made(config):
        if config.eval.split == TRAIN:
            return f"eval.split={TRAIN} reports it"
        return f"eval.path={config.eval.path} has no rows of the split train"
    if config.mix.include_heldout and config.mix.path is None:
        return "mix.include_heldout=true trains on the held-out tasks' train split"
    return None


def _will_be_made(config: Config) -> bool:
    """Whether the instances are rows that this run makes of raw corpora first, a train split among them."""
    made, path = config.recreate.out, config.eval.path
    return "recreate" in config.active_stages and config.eval.split != TRAIN and made is not None and made == path


def _no_validation_rows(config: Config) -> str | None:
    """Why the mix has no science rows that are not trained on; None if it may have some."""
    mix = config.mix
    if mix.path is not None:
        return f"mix.path={mix.path} brings no validation rows"
    if not mix.validation_rows:
        return "mix.validation_rows=0 draws none"
    return None if "science" in mix.kinds else f"mix={mix.name} has no science source to draw validation rows from"


assert BEST_FROM == (TRAIN_SPLIT, VALIDATION_ROWS, REPORTED)
