"""Render a record with a task's templates: the input and the output of a row.

Templates run in Jinja's sandbox. What SciRIFF's templates mean is kept: undefined fields are errors, `zip` is there,
`tojson` sorts keys and escapes what HTML would read, and a text field may contain the separator.
"""

import difflib
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sciriff.recreate.corpus import Record
from sciriff.recreate.template_file import TemplateFile
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

SEPARATOR = "|||"
PROTECTED = "\ue000\ue001\ue002"
"""Stands for the separator in text fields while a template is rendered: characters of no language."""
OTHER_FILES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.globals["zip"] = zip
    del environment.globals["lipsum"]  # these two draw by chance, and every build must give the same rows
    del environment.filters["random"]
    return environment


class Renderer:
    """Compiled templates of one task. UserError for a template that cannot be compiled."""

    def __init__(self, task: TemplateFile) -> None:
        self._path = task.path
        environment = _environment()
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
        try:
            tree = environment.parse(source)
            if other := next(tree.find_all(OTHER_FILES), None):
                raise TemplateSyntaxError(f"{type(other).__name__.lower()} reads other files", other.lineno)
            return environment.from_string(source)
        except TemplateSyntaxError as error:
            line = f"line {error.lineno} of {key}"
            raise UserError(f"{self._path}: template {number}, {line}: {visible_line(error.message)}") from None
        except (RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise UserError(f"{self._path}: template {number}: {visible_line(error)}"[:300]) from None

    def render(self, number: int, record: Record) -> tuple[str, str]:
        """Return input and output, both without white space around them. ValueError says what is wrong."""
        fields = {
            name: value.replace(SEPARATOR, PROTECTED) if isinstance(value, str) else value
            for name, value in record.items()
            if not name.startswith("_")
        }
        try:
            if number in self._choices:
                choices = self._choices[number].render(fields)
                fields["answer_choices"] = [choice.strip() for choice in choices.split(SEPARATOR)]
            rendered = self._templates[number].render(fields)
        except Exception as error:  # whatever a template can raise: an expression in it can call any method of the data
            raise ValueError(f"template {number}: {_explained(error, record)}") from None
        parts = [part.strip().replace(PROTECTED, SEPARATOR) for part in rendered.split(SEPARATOR)]
        if len(parts) != 2:
            inside = next((name for name, value in fields.items() if SEPARATOR in _text(value)), None)
            where = f" (it is inside the field {inside!r}, which is no plain text)" if inside else ""
            raise ValueError(f"template {number}: rendered, it has {SEPARATOR} {len(parts) - 1} times, not once{where}")
        prompt, answer = parts
        for name, text in (("input", prompt), ("output", answer)):
            if not text:
                raise ValueError(f"template {number}: the {name} is blank")
            if "\0" in text:
                raise ValueError(f"template {number}: the {name} has a NUL character")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"template {number}: the {name} has half a surrogate pair, which is no text") from None
        return prompt, answer


def _explained(error: Exception, record: Record) -> str:
    """What went wrong while rendering, with the nearest field for one that is not there."""
    if isinstance(error, MemoryError):
        raise error
    message = visible_line(" ".join(str(error).split()))[:300]
    if isinstance(error, TemplateError) and message.endswith("is undefined"):
        name = message.split("'")[1] if "'" in message else message.split()[0]
        known = sorted(field for field in record if not field.startswith("_"))
        close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {visible_line(', '.join(known))[:200]}"
        return f"the record has no field {name!r}; {hint}"
    return f"{type(error).__name__}: {message}" if not isinstance(error, TemplateError) else message


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else str(value)
