"""The sandbox in which chat templates of strangers run: Jinja's, which keeps them from Python, and limits to the size
of what they make.

A limit is checked before a text is made, for a single one can take all memory. Nothing limits how many texts below it a
template keeps, but the time that it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MOST_MARKUP = 1 << 22
"""Most characters that a template may add to the text of a conversation."""
WIDEST = 10_000
"""Most characters to which a text may be filled up."""
LONGEST_NAME = 200
STRANGE = (
    *(TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError),
    *(RuntimeError, SyntaxError, TypeError, ValueError),
)
"""What a template can raise: it calls methods of text and numbers as it likes."""
_NUMBERS = ("int", "float", "round", "default", "d", "abs")
"""Filters whose numbers are no widths."""
_WIDE = re.compile(r"%[^A-Za-z%]*(\d{5}|\*)|\{[^{}]*:[^{}]*(\d{5}|\{)")
"""A field of a format that is wide, or as wide as a value says."""

_most: ContextVar[int] = ContextVar("_most", default=MOST_MARKUP)


@contextmanager
def at_most(characters: int) -> Iterator[None]:
    """Let no value be larger."""
    token = _most.set(characters)
    try:
        yield
    finally:
        _most.reset(token)


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark what a model writes: its body, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012 - as the class above declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _OpenNamespace(Namespace):
    """A namespace without names that begin with an underscore, by which templates could reach Python's own."""

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _namespace(*given: Any, **values: Any) -> Namespace:
    attributes = dict(*given, **values)
    for name in attributes:
        _refuse_private(name)
    return _OpenNamespace(attributes)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no {name[:LONGEST_NAME]}")


class _Dict:
    """`dict` without the attributes of Python's type."""

    def __call__(self, *given: Any, **values: Any) -> dict[Any, Any]:
        return dict(*given, **values)

    def fromkeys(self, *given: Any) -> dict[Any, Any]:
        return dict.fromkeys(*given)


def _size(value: Any, most: int) -> int:
    """Characters of a value, of what is in it too, and some for each list and entry; counting ends above `most`."""
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 1
    size = 16
    parts: Iterable[Any] = value
    if isinstance(value, dict):
        parts = (part for item in value.items() for part in item)
    for part in parts:
        size += 1 + _size(part, most - size)
        if size > most:
            break
    return size


def _limit(size: int) -> None:
    if size > _most.get():
        raise SecurityError("a text would be too long")


def _checked(value: Any) -> Any:
    """The value, which becomes text: a short list can have the same long text many times."""
    if not isinstance(value, str):
        _limit(_size(value, _most.get()))
    return value


def _joined(parts: Iterable[Any]) -> str:
    texts = [part if type(part) is str else str(_checked(part)) for part in parts]
    _limit(sum(map(len, texts)))
    return "".join(texts)


def _limit_arguments(name: str, text: Any, given: Iterable[Any]) -> None:
    """Refuse what a method or filter of this name would make of a text, judged by what it is given."""
    values = list(given)
    if not values and isinstance(text, str) and name != "expandtabs":
        _limit(len(text))
        return
    _limit(sum(_size(value, _most.get()) for value in (text, *values)))
    if name not in _NUMBERS and any(type(value) is int and abs(value) > WIDEST for value in values):
        raise SecurityError("a text would be too wide")
    if not isinstance(text, str):
        return
    if name in ("format", "format_map") and _WIDE.search(text):
        raise SecurityError("a text would be too wide")
    longest = max((_size(value, _most.get()) for value in values), default=0)
    if name == "replace" and len(values) > 1 and isinstance(values[0], str):
        _limit(len(text) + text.count(values[0]) * _size(values[1], _most.get()))
    elif name in ("format", "format_map"):
        _limit(len(text) + (text.count("%") + text.count("{")) * longest)
    elif name == "translate":
        _limit(len(text) * longest)
    elif name in ("indent", "wordwrap", "expandtabs"):
        widths = (value if type(value) is int else _size(value, _most.get()) for value in values)
        _limit(len(text) + (text.count("\n") + text.count("\t") + len(text) // 40 + 1) * max(widths, default=4))


def _parts(joined: Any) -> Any:
    """What is joined, so that it can be looked at first."""
    return joined if isinstance(joined, str) else list(joined)


def _limit_join(between: str, parts: Any) -> None:
    _limit(_size(parts, _most.get()) + len(between) * len(parts))


def _limited_filter(name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at its arguments first."""
    place = 1 if hasattr(filter, "jinja_pass_arg") else 0

    @wraps(filter)
    def limited(*given: Any, **named: Any) -> Any:
        values = list(given)
        if name == "join" and len(values) > place:
            values[place] = _parts(values[place])
            between = named.get("d", values[place + 1] if len(values) > place + 1 else "")
            _limit_join(str(between), values[place])
        _limit_arguments(name, values[place] if len(values) > place else "", [*values[place + 1 :], *named.values()])
        return filter(*values, **named)

    return limited


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class SandboxedTemplates(ImmutableSandboxedEnvironment):
    """Set up as transformers does, without a clock."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator
    concat = staticmethod(_joined)

    def __init__(self) -> None:
        extensions = [_Generation, "jinja2.ext.loopcontrols"]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_checked)
        self.filters = {name: _limited_filter(name, filter) for name, filter in self.filters.items()}
        self.filters["tojson"] = _limited_filter("tojson", _tojson)
        self.globals["raise_exception"] = _raise_exception
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _namespace
        del self.globals["lipsum"]  # which makes as much text as it is told

    def call(self, context: Any, function: Any, /, *given: Any, **named: Any) -> Any:
        text, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(text, str):
            if name == "join" and given:
                given = (_parts(given[0]), *given[1:])
                _limit_join(text, given[0])
            _limit_arguments(name, text, [*given, *named.values()])
        return super().call(context, function, *given, **named)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def limited(*given: Any, **named: Any) -> str:
            _limit_arguments("format", value.__self__, [*given, *named.values()])
            return wrapped(*given, **named)

        return limited

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            if type(left) is str and type(right) is str:  # nearly all
                _limit(len(left) + len(right))
                return left + right
            _limit(_size(left, _most.get()) + _size(right, _most.get()))
        if operator == "%" and isinstance(left, str):
            _limit_arguments("format", left, right if isinstance(right, tuple) else [right])
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(times, int) and hasattr(text, "__len__"):
                    _limit(_size(text, _most.get()) * times)
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > 1 << 12:
                raise SecurityError("a number would be too large")
        return super().call_binop(context, operator, left, right)


def strftime_of(day: datetime) -> Callable[[str], str]:
    """`strftime_now` of templates, which is no global here, or Jinja would not say which templates ask for it."""

    def strftime_now(format: str) -> str:
        if not isinstance(format, str) or len(format) > 100 or re.search(r"%[^A-Za-z%]*\d", format):
            raise SecurityError("strange format of a date")
        return day.strftime(format)

    return strftime_now


def _raise_exception(message: object) -> None:
    raise TemplateError(str(message))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
