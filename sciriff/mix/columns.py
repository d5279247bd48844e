"""Which columns of a source are which fields of a row: `mix.sources.NAME.columns`, and `filter` by a column's value."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.delimited import name_shown, names_shown
from sciriff.mix.column_template import BEGIN, CannotRender, ColumnTemplate
from sciriff.mix.row_text import BadRow
from sciriff.run.nearest import nearest, resembling
from sciriff.run.user_error import UserError

CONTENT = ("messages", "conversations", "prompt", "completion", "instruction", "input", "output", "history", "thought")
"""Fields that some forms of rows have."""
FIELDS = (*CONTENT, "system", "dataset", "id", "_instance_id")
"""All fields: the others are of every form."""
MOST_VALUES, LONGEST_VALUE = 1000, 200
"""How many values of a filtered column are noted, to name the nearest, and of how many characters."""

_ABSENT = object()


class Columns:
    """The columns of a source by field. UserError for a field that no form of rows has, or an invalid template."""

    def __init__(self, name: str, source: SourceConfig) -> None:
        self.key = f"mix.sources.{name}.columns"
        self._names: dict[str, str] = {}
        self._templates: dict[str, ColumnTemplate] = {}
        for field, column in (getattr(source, "columns", None) or {}).items():
            key = f"{self.key}.{name_shown(field)}"
            if field not in FIELDS:
                raise UserError(f"{key}: rows have no such field{nearest(field, FIELDS)}")
            if not isinstance(column, str) or not column.strip():
                raise UserError(f"{key} must be the name of a column, or a template such as '{{{{ question }}}}'")
            if BEGIN in column:
                self._templates[field] = ColumnTemplate(column, key)
            elif "{%" in column:
                raise UserError(f"{key}: a template has {{{{ with a value, such as '{{{{ question }}}}'")
            else:
                self._names[field] = column
        self._labels = {field: self._label(field) for field in FIELDS}

    @property
    def mapped(self) -> tuple[str, ...]:
        """Fields that have a column or a template."""
        return (*self._names, *self._templates)

    def label(self, field: str) -> str:
        """A field as messages name it, with the column that it is read from."""
        return self._labels[field]

    def _label(self, field: str) -> str:
        if field in self._templates:
            return f"`{field}` (a template)"
        return f"`{field}`" + (f" (column `{name_shown(self._names[field])}`)" if field in self._names else "")

    def check(self, where: str, there: Collection[str]) -> None:
        """UserError where a file lacks a column that is mapped. `there` are its columns, nested ones too."""
        for field, column in self._names.items():
            self._check(where, field, column, there)
        for field, template in self._templates.items():
            for column in template.needs:
                self._check(where, field, column, there)

    def _check(self, where: str, field: str, column: str, there: Collection[str]) -> None:
        if column not in there:
            rarely = (
                f"; if only some rows have it: '{{{{ {column} | default(\"\") }}}}'" if column.isidentifier() else ""
            )
            raise UserError(
                f"{where}: there is no column {name_shown(column)!r}, which {self.key}.{field} names"
                f"{_nearest(column, there)}{rarely}"
            )

    def fields(self, there: Collection[str]) -> set[str]:
        """Fields that rows with these columns may have."""
        return {field for field in FIELDS if field in self.mapped or field in there}

    def wanted(self, there: Collection[str]) -> set[str]:
        """The columns to read, of those that are there."""
        found = {field for field in FIELDS if field not in self.mapped}
        for template in self._templates.values():
            if template.reads_all:
                return _tops(there)
            found.update(template.may_read)
        found.update(_outermost(column, there) for column in self._names.values())
        return found & set(there)

    def row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a raw row. BadRow where a template makes nothing of it."""
        row = {field: raw[field] for field in FIELDS if field in raw and field not in self.mapped}
        for field, column in self._names.items():
            if (value := value_of(raw, column)) is not _ABSENT:
                row[field] = value
        if self._templates:
            values = {name: None if is_nan(value) else value for name, value in raw.items()}
            for field, template in self._templates.items():
                try:
                    row[field] = template.render(values)
                except CannotRender as error:
                    fix = f"mend {self.key}.{field} (`| default('')` is for columns that may be missing)"
                    raise BadRow(f"the template of `{field}` makes no text of a row", f" ({error})", fix) from None
        return row


class RowFilter:
    """`mix.sources.NAME.filter`: the values that a column must have. UserError for values that no text can equal."""

    def __init__(self, name: str, source: SourceConfig) -> None:
        self.key = f"mix.sources.{name}.filter"
        self.reason = f"not of {self.key}"
        self._wanted: dict[str, set[str | None]] = {}
        self._seen: dict[str, set[str]] = {}
        self._lets_in: set[str] = set()
        for column, value in (getattr(source, "filter", None) or {}).items():
            values = list(value) if isinstance(value, list | tuple) else [value]
            if not values or any(one is not None and not isinstance(one, str | int | float) for one in values):
                raise UserError(f"{self.key}.{name_shown(str(column))} must be a value or a list of values")
            self._wanted[str(column)] = {_comparable(one) for one in values}
            self._seen[str(column)] = set()

    def __contains__(self, column: str) -> bool:
        return column in self._wanted

    def check(self, where: str, there: Collection[str]) -> None:
        """UserError where a file lacks a column that is filtered by."""
        for column in self._wanted:
            if column not in there:
                raise UserError(
                    f"{where}: there is no column {name_shown(column)!r}, by which {self.key} chooses rows"
                    f"{_nearest(column, there)}"
                )

    def wanted(self, there: Collection[str]) -> set[str]:
        """The columns to read, of those that are there."""
        return {_outermost(column, there) for column in self._wanted} & set(there)

    def lets_in(self, raw: Mapping[str, Any]) -> bool:
        """Whether each of the columns has one of its values; of a list, one element must be among them."""
        for column, wanted in self._wanted.items():
            value = value_of(raw, column)
            values = {_comparable(one) for one in (value if isinstance(value, list) else [value])}
            seen = self._seen[column]
            if len(seen) < MOST_VALUES:
                seen.update(one for one in values if one is not None and len(one) <= LONGEST_VALUE)
            if not values & wanted:
                return False
            self._lets_in.add(column)
        return True

    def check_values(self, where: str) -> None:
        """UserError where no row that was read has a value of one of the columns."""
        for column, wanted in self._wanted.items():
            if column not in self._lets_in:
                values = sorted(one for one in wanted if one is not None) or ["null"]
                hint = next(filter(None, (_nearest(value, sorted(self._seen[column])) for value in values)), "")
                raise UserError(
                    f"{where}: no row has {names_shown(values)} in the column {name_shown(column)!r}, by which "
                    f"{self.key} chooses{hint}"
                )


def value_of(raw: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of what is nested in it; _ABSENT without one."""
    if column in raw:
        return raw[column]
    outer, dot, inner = column.partition(".")
    while dot:
        if isinstance(within := raw.get(outer), Mapping):
            return value_of(within, inner)
        more, dot, inner = inner.partition(".")
        outer = f"{outer}.{more}"
    return _ABSENT


def is_nan(value: Any) -> bool:
    """Whether this is what tables have in place of a missing value."""
    return isinstance(value, float) and math.isnan(value)


def _outermost(column: str, there: Collection[str]) -> str:
    """The column of a table that holds this one."""
    parts = column.split(".")
    outers = (".".join(parts[: len(parts) - i]) for i in range(len(parts)))
    tops = _tops(there)
    return next((outer for outer in outers if outer in tops), column)


def _tops(there: Collection[str]) -> set[str]:
    """Names that are nested in no other."""
    known = set(there)
    return {name for name in there if not any(name[: dot.start()] in known for dot in re.finditer(r"\.", name))}


def _comparable(value: Any) -> str | None:
    """A value as text, so that the numbers of a CSV file equal those of the config."""
    if value is None or value is _ABSENT or is_nan(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return text.lower() if text in ("True", "False", "TRUE", "FALSE") else text


def _nearest(word: str, names: Collection[str]) -> str:
    """`; did you mean`, or all names that there are, as a message shows them."""
    shown = {name_shown(name): None for name in names}
    if not shown:
        return "; it has none"
    meant = resembling(name_shown(word), shown)
    return f"{meant + ' It' if meant else '; it'} has {names_shown(list(shown))}"
