"""The config in a run folder: written once; only some keys may have other values when the run is resumed."""

from typing import Any

from sciriff.config import (
    FREE_TO_CHANGE,
    Config,
    GeneralConfig,
    MergeConfig,
    PublishConfig,
    RecreateConfig,
    as_dict,
    read,
    to_yaml,
)
from sciriff.config.plain_yaml import plain_values
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole

SINCE_THEN = {
    "recreate": as_dict(RecreateConfig()),
    "general": as_dict(GeneralConfig()),
    "merge": as_dict(MergeConfig()),
    "publish": as_dict(PublishConfig()),
}
"""Sections that a run of an earlier version lacks: it had what is their default."""


def freeze(config: Config, run: RunDir) -> None:
    """Write config.yaml, where the folder is new or was made with the same config but for keys that may change."""
    refuse_another(config, run)
    write_whole(run.config, to_yaml(config))


def refuse_another(config: Config, run: RunDir) -> None:
    """UserError where the folder is another run's, with the first key that differs or that its config lacks. A folder
    in which nothing has been finished or saved is nobody's: what was wrong with its command may be typed rightly."""
    if not run.config.is_file():
        return
    old, new = SINCE_THEN | read(run.config), plain_values(to_yaml(config).encode())
    if _has_no_typed_shape(old) and _has_no_typed_shape(new):  # what was read decides nothing; the model's files do
        old["model"]["shape"] = new["model"]["shape"]
    if lost := [str(key) for key in new if key not in old]:
        raise UserError(
            f"{run.config} has no {lost[0]}: it is cut off, or of another version of sciriff; remove it, and this "
            "command writes it again and keeps what is finished, or choose another name=..."
        )
    if (difference := _first_difference(old, new)) and not _has_nothing(run):
        raise UserError(f"{run.root} was made with {difference}; choose another name=... or remove that folder")


def _has_nothing(run: RunDir) -> bool:
    """Whether no stage is finished and none has saved what another start would go on with."""
    if any(record.status == "done" for record in Manifest.read(run.manifest).stages.values()):
        return False
    saved = (run.recreated, run.mix, run.checkpoints, run.metrics, run.model, run.predictions, run.paid_answers)
    return not any(path.exists() for path in (*saved, run.answer_batch, run.general, run.judgements, run.scores))


def _has_no_typed_shape(values: dict[str, Any]) -> bool:
    """Whether the shape was read, or is not known because no stage has needed it."""
    model = values.get("model")
    shape = model.get("shape", {}) if isinstance(model, dict) else {}
    return shape is None or (isinstance(shape, dict) and bool(shape.get("read_from")))


def _first_difference(old: object, new: object, key: str = "") -> str | None:
    """`train.epochs=2, not 3`, of keys that may not change; None without any."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = ((name, f"{key}.{name}" if key else str(name)) for name in {**new, **old})
        found = (_first_difference(old.get(name), new.get(name), k) for name, k in inner if k not in FREE_TO_CHANGE)
        return next(filter(None, found), None)
    return None if old == new else f"{key}={old}, not {new}"
