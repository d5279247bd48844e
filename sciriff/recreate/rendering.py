"""Render a record with a task's templates: the input and the output of a row.

Templates run in Jinja's sandbox. What SciRIFF's templates mean is kept: undefined fields are errors, `zip` is there,
`tojson` sorts keys and escapes what HTML would read, and a text field may contain the separator.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Set
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sciriff.recreate.corpus import Record
from sciriff.recreate.template_file import TemplateFile
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

SEPARATOR = "|||"
PROTECTED = "\ue000\ue001\ue002"
"""Stands for the separator in text fields while a template is rendered: characters of no language."""
NUL = "\0"
ADDRESS = re.compile(r" at 0x[0-9a-f]+>")
"""How Python shows an object that is no value: by its place in memory, which differs each time."""
OTHER_FILES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def sandbox() -> ImmutableSandboxedEnvironment:
    """Return the environment in which templates are compiled and run."""
    environment = _Sandbox(undefined=_Missing)
    environment.globals["zip"] = zip
    del environment.globals["lipsum"]  # these two draw by chance, and every build must give the same rows
    del environment.filters["random"]
    return environment


class _Missing(StrictUndefined):
    """A field that is not there: an error where it is used, and where a list shows it."""

    __slots__ = ()
    __repr__ = StrictUndefined.__str__


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without sets: their order differs each time."""

    intercepted_binops = frozenset("-")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, Set) or isinstance(right, Set):
            raise TypeError("a difference of keys has no order; use the filter reject('in', ...)")
        return super().call_binop(context, operator, left, right)


class Renderer:
    """Compiled templates of one task; `at` is called with the number of each before it is compiled, as constants in it
    are computed then. UserError for a template that cannot be compiled."""

    def __init__(self, task: TemplateFile, at: Callable[[str], None] = lambda place: None) -> None:
        self._at = at
        self._path = task.path
        environment = sandbox()
        self._templates = {
            number: self._compiled(environment, number, "jinja", text.jinja) for number, text in task.templates.items()
        }
        self._choices = {
            number: self._compiled(environment, number, "answer_choices", text.answer_choices)
            for number, text in task.templates.items()
            if text.answer_choices is not None
        }
        for number, text in task.templates.items():
            if SEPARATOR not in text.jinja:
                raise UserError(
                    f"{task.path}: template {number} has no {SEPARATOR}, which stands between the input and the output"
                )

    def _compiled(self, environment: ImmutableSandboxedEnvironment, number: int, key: str, source: str) -> Template:
        self._at(f"template {number}")
        try:
            tree = environment.parse(source)
            if other := next(tree.find_all(OTHER_FILES), None):
                raise TemplateSyntaxError(f"{type(other).__name__.lower()} reads other files", other.lineno)
            return environment.from_string(source)
        except TemplateSyntaxError as error:
            line = f"line {error.lineno} of {key}"
            raise UserError(f"{self._path}: template {number}, {line}: {visible_line(error.message)}") from None
        except (SyntaxError, RecursionError, OverflowError, ValueError) as error:  # of Python, which it becomes
            reason = f"{key} is nested too deep, or has a value too large ({visible_line(error)[:200]})"
            raise UserError(f"{self._path}: template {number}: {reason}") from None

    def render(self, number: int, record: Record) -> tuple[str, str]:
        """Return input and output, both without white space around them. ValueError says what is wrong."""
        fields = {name: value for name, value in record.items() if not name.startswith("_")}
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        protected = {name: value.replace(SEPARATOR, PROTECTED) for name, value in texts.items() if SEPARATOR in value}
        if protected and (name := next((name for name, value in texts.items() if PROTECTED in value), None)):
            raise ValueError(f"template {number}: the field {name!r} has U+E000 to U+E002, which stand for {SEPARATOR}")
        fields |= protected
        try:
            if number in self._choices:
                choices = self._choices[number].render(fields)
                fields["answer_choices"] = [choice.strip() for choice in choices.split(SEPARATOR)]
            rendered = self._templates[number].render(fields)
        except Exception as error:  # whatever a template can raise: an expression in it can call any method of the data
            raise ValueError(f"template {number}: {_explained(error, record)}") from None
        parts = [part.strip() for part in rendered.split(SEPARATOR)]
        if len(parts) != 2:
            where = _inside(fields, lambda text: SEPARATOR in text, ", which is no plain text")
            raise ValueError(f"template {number}: rendered, it has {SEPARATOR} {len(parts) - 1} times, not once{where}")
        prompt, answer = [part.replace(PROTECTED, SEPARATOR) for part in parts] if protected else parts
        for name, text in (("input", prompt), ("output", answer)):
            if problem := _problem(text, fields):
                raise ValueError(f"template {number}: the {name} {problem}")
        return prompt, answer


def _problem(text: str, fields: Record) -> str | None:
    """Return what is wrong with a rendered input or output."""
    if not text:
        return "is blank"
    if NUL in text:
        return f"has a NUL character{_inside(fields, lambda part: NUL in part)}"
    if not _is_utf8(text):
        return f"has half a surrogate pair, which is no text{_inside(fields, lambda part: not _is_utf8(part))}"
    found = ADDRESS.search(text)
    if found and not _inside(fields, lambda part: found[0] in part):
        shown = visible_line(text[max(0, found.start() - 60) : found.end()])
        return f"shows an object that is no value ({shown}); a filter such as `list` makes one of it"
    return None


def _explained(error: Exception, record: Record) -> str:
    """What went wrong while rendering, with the nearest field for one that is not there."""
    if isinstance(error, MemoryError):
        raise error
    message = visible_line(" ".join(str(error).split()))[:300]
    if isinstance(error, TemplateError) and message.endswith("is undefined"):
        name = message.split("'")[1] if "'" in message else message.split()[0]
        known = sorted(field for field in record if not field.startswith("_"))
        close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = _meant(close[0]) if close else f"it has {visible_line(', '.join(known))[:200]}"
        return f"the record has no field {name!r}; {hint}"
    return f"{type(error).__name__}: {message}" if not isinstance(error, TemplateError) else message


def _meant(field: str) -> str:
    if field.isidentifier():
        return f"did you mean {field!r}?"
    shown = visible_line(field)[:60]
    return f"a template cannot name its field {shown!r}: rename it to letters, digits and _ alone"


def _inside(fields: Record, has: Callable[[str], bool], about: str = "") -> str:
    """Return words for the first field in which a text `has` what is wrong, nothing if there is none."""
    name = next((name for name, value in fields.items() if any(map(has, _texts(value)))), None)
    return "" if name is None else f" (it is inside the field {visible_line(name)[:60]!r}{about})"


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value, however deep."""
    values = [value]
    while values:
        one = values.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            values += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            values += one


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
