"""A short template that makes a field of a row from its columns, in the sandbox of chat templates.

It has no loops, so that the limits of the sandbox on size are limits of time as well; text of a row is a value that it
prints, never a part of it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.meta import find_undeclared_variables

from sciriff.models.template_sandbox import STRANGE, SandboxedTemplates, at_most
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

BEGIN = "{{"
"""Tells a template from the name of a column."""
WHOLE_ROW = "row"
"""Variable with all columns, for names that are no words: `{{ row["Question text"] }}`."""

LONGEST = 10_000
"""Characters of a template."""
MOST_TEXT = 1 << 24
"""Characters that it may make of one row; the longest papers have 2 million."""
LONGEST_REASON = 200


class CannotRender(Exception):
    """A row of which the template makes no text; the message is the reason, fit to be shown."""


class _Templates(SandboxedTemplates):
    """Without functions of its own, so that every name is a column's. A null is no text."""

    def __init__(self) -> None:
        super().__init__()
        self.undefined = StrictUndefined
        self.finalize = _as_text
        self.globals.clear()

    @staticmethod
    def concat(parts: Any) -> str:
        return SandboxedTemplates.concat(["" if part is None else part for part in parts])


def _as_text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal | Undefined):
        kind = type(value).__name__
        raise TemplateError(
            f"it prints a value of type {kind}, which is no text: say how, such as {{{{ authors | join(', ') }}}} or "
            "{{ 'yes' if flag else 'no' }}"
        )
    return str(value)  # which raises for a column that is not there


class ColumnTemplate:
    """A template that was read. UserError, which begins with `key`, where it cannot be used."""

    def __init__(self, text: str, key: str) -> None:
        environment = _Templates()
        if len(text) > LONGEST:
            raise UserError(f"{key} is a template with at most {LONGEST:,} characters; make it shorter")
        try:
            with at_most(MOST_TEXT):
                tree = environment.parse(text)
                self._template = environment.from_string(text)
                names = find_undeclared_variables(tree)
        except STRANGE as error:
            raise UserError(f"{key}={_shown(text)} is not a Jinja template ({_shown(error)}); mend it") from None
        for statement in tree.find_all(nodes.Stmt):
            if not isinstance(statement, nodes.Output | nodes.If):
                kind = type(statement).__name__.lower()
                raise UserError(
                    f"{key}={_shown(text)} has a statement {kind!r}; a template of columns may have if alone"
                )
        if any("\\n" in data.data for data in tree.find_all(nodes.TemplateData)):
            raise UserError(f'{key}={_shown(text)}: \\n outside of {{{{ }}}} is no end of a line; say {{{{ "\\n" }}}}')
        of_row, whole = _of_row(tree)
        self.reads_all = whole
        """Whether it may read any column."""
        self.needs = sorted((names - {WHOLE_ROW} - _optional(tree)) | of_row)
        """Names of the columns that must be there."""
        self.may_read = sorted((names - {WHOLE_ROW}) | of_row)
        """Names of these, and of those that it has another value for."""

    def render(self, row: Mapping[str, Any]) -> str:
        """The text that it makes of a row. CannotRender says why there is none."""
        try:
            with at_most(MOST_TEXT):
                return self._template.render({**row, WHOLE_ROW: row})
        except STRANGE as error:
            raise CannotRender(_shown(error)) from None


def _of_row(tree: nodes.Template) -> tuple[set[str], bool]:
    """Columns that are read as `row["name"]` or `row.name`, and whether the row is read otherwise."""
    names = set()
    readings = 0
    reading: list[nodes.Getitem | nodes.Getattr] = [*tree.find_all(nodes.Getitem), *tree.find_all(nodes.Getattr)]
    for node in reading:
        if not (isinstance(node.node, nodes.Name) and node.node.name == WHOLE_ROW):
            continue
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if isinstance(name, str):
            names.add(name)
            readings += 1
    whole = sum(node.name == WHOLE_ROW for node in tree.find_all(nodes.Name))
    return names, whole > readings


def _optional(tree: nodes.Template) -> set[str]:
    """Columns that may be missing: `{{ context | default('') }}`, `{% if context is defined %}`."""
    return {
        node.node.name
        for node in tree.find_all((nodes.Filter, nodes.Test))
        if node.name in ("default", "d", "defined", "undefined") and isinstance(node.node, nodes.Name)
    }


def _shown(text: object) -> str:
    return shortened(visible_line(str(text).strip() or type(text).__name__), LONGEST_REASON)
