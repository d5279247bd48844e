"""Formatters by name: each module turns a source record into records with the fields that templates use."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sciriff.config import nearest
from sciriff.recreate.corpus import Record
from sciriff.recreate.template_file import TemplateFile
from sciriff.recreate.tokens import TokenCounter
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

Format = Callable[[Record], Iterator[Record]]
OURS = ("count_tokens", "context_window", "seed")
"""Arguments that a formatter may ask for by naming them; a template file gives the others."""


def formatter(task: TemplateFile, counter: TokenCounter | None, context_window: int | None, seed: int) -> Format:
    """Return the formatter of a task with its arguments; without one, records are used as they are. UserError for an
    unknown formatter or argument."""
    if task.formatter is None:
        return lambda record: iter((record,))
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    name, arguments = task.formatter.name, task.formatter.args or {}
    if name not in names:
        raise UserError(f"{task.path}: formatter.name={visible_line(name)} is not known{nearest(name, names)}")
    format_record: Callable[..., Iterator[Record]] = importlib.import_module(f"{__name__}.{name}").format_record
    parameters = dict(list(inspect.signature(format_record).parameters.items())[1:])
    wanted = [key for key in parameters if key not in OURS]
    for key in arguments:
        if key not in wanted and key not in IGNORED:
            hint = nearest(str(key), wanted) if wanted else "; it takes none"
            raise UserError(f"{task.path}: formatter.args.{visible_line(key)} is no argument of {name}{hint}")
    for key, parameter in parameters.items():
        if key in wanted and parameter.default is inspect.Parameter.empty and key not in arguments:
            raise UserError(f"{task.path}: the formatter {name} needs formatter.args.{key}")
        if key in arguments:
            try:
                typed(arguments[key], parameter.annotation)
            except WrongType as error:
                raise UserError(f"{task.path}: formatter.args.{key}: {visible_line(error)}") from None
    ours: dict[str, Any] = {"context_window": context_window, "seed": seed}
    if "count_tokens" in parameters:
        ours["count_tokens"] = _count(task, name, counter)
    chosen = {key: ours[key] for key in parameters if key in ours}
    return partial(format_record, **{key: value for key, value in arguments.items() if key in wanted}, **chosen)


IGNORED = ("tokenizer_path",)
"""Arguments of SciRIFF's files that recreate.tokenizer takes the place of."""


def _count(task: TemplateFile, name: str, counter: TokenCounter | None) -> Callable[[str], int]:
    def count(text: str) -> int:
        if counter is None:
            raise UserError(f"{task.path}: the formatter {name} counts tokens: give recreate.tokenizer=PATH_OR_HUB_ID")
        return counter.lengths([text])[0]

    return count
