"""Ids of rows, and the order in which our own rule draws them: a function of task, id and seed, never of order.

An id is `task:source split:record`, and `:tN` follows for the N-th template of the task from the second on.
"""

import hashlib
import re

from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

RECORD_ID = re.compile(r"[^\s:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
TEMPLATE = re.compile(r":t\d+$")


def instance_id(task: str, split: str, record: str) -> str:
    """Return the id that all renderings of a record share, which is that of the first template's."""
    return f"{task}:{split}:{record}"


def with_template(base: str, template: int) -> str:
    """Return the id of one rendering."""
    return f"{base}:t{template + 1}" if template else base


def without_template(instance: str) -> str:
    """Return the id that all renderings of the record share."""
    return TEMPLATE.sub("", instance) if instance.count(":") > 2 else instance


def record_id(record: dict[str, object], number: int) -> str:
    """Return `_id` of a record, else its number. UserError for one that could not stand in an id."""
    value = record.get("_id", number)
    if not isinstance(value, str | int) or isinstance(value, bool) or not RECORD_ID.fullmatch(str(value)):
        raise UserError(f"_id={visible_line(value)[:60]} must be a number or a text without white space and colons")
    return str(value)


def rank(seed: int, purpose: str, key: str) -> bytes:
    """Return a value to sort by: as good as drawn, and the same whatever else there is."""
    return hashlib.sha256(f"{seed}:{purpose}:{key}".encode()).digest()
