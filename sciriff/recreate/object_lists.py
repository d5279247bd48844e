"""Lists of objects, as JSON has them and as the hub's tables do."""

from collections.abc import Mapping
from typing import Any

from sciriff.run.user_error import UserError


def objects(value: Any, name: str) -> Any:
    """Return a list of objects; the hub's tables have one object of a list for each key in its place.

    `name` is the field's, for UserError on lists of different lengths. Any other value is returned as it is.
    """
    if not isinstance(value, Mapping):
        return value
    columns = {key: column for key, column in value.items() if isinstance(column, list)}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns.values())
        raise UserError(f"{name}: its lists have different lengths ({lengths})")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
