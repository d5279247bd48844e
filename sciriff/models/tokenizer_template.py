"""Render conversations by the chat template that a tokenizer brings, which a stranger may have written.

The sandbox is Jinja's, set up as transformers does, with two differences: the day is the one that the settings name,
and size and time are limited (template_sandbox). Both render the same text otherwise, which tests compare for the
templates of many families.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from sciriff.config import CHAT_DATE, ChatSettings
from sciriff.models.remark import Remark
from sciriff.models.template_sandbox import MOST_MARKUP, STRANGE, SandboxedTemplates, at_most, strftime_of
from sciriff.models.thought_marks import AROUND, FIELDS
from sciriff.run.json_lines import Message
from sciriff.run.nearest import nearest
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Turn = dict[str, Any]
"""A message as templates see it: `role`, `content` and, where there is one, a thought."""

_READS_THOUGHTS = re.compile(rf"""[.'"]({"|".join(FIELDS)})\b""")
_CLOSED_EMPTY = [(re.compile(rf"\s*{re.escape(begin)}\s*{re.escape(end)}\s*"), None) for begin, end in AROUND] + [
    (re.compile(rf"\s*{re.escape(end)}\s*"), re.compile(rf"{re.escape(begin)}\s*\Z")) for begin, end in AROUND
]
"""(beginning of an answer, end of the prompt before it, if need be) that are together an empty thought."""

_DATE_FORMATS = ("%d %b %Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y")
"""Formats of the day that templates have built in as `date_string`."""

THINKING = "enable_thinking"
"""Variable by which many templates are told whether a model thinks."""

PROBE = "Quokka"
"""Text of a message that shows whether a template prints messages."""
_EXCHANGE = (Message("user", "x"), Message("assistant", PROBE))

SECONDS = 30
"""Longest time that one rendering may take; real templates take a thousandth of a second."""
LARGEST_TEMPLATE = 1 << 20
"""Characters of a template; those of large families have 20,000."""
LONGEST_REASON = 200


class Inexpressible(UserError):
    """A conversation that the template cannot render so that an answer continues its prompt. `reason` is the same for
    all such rows, `details` are those of this one."""

    def __init__(self, reason: str, details: str = "", fix: str = "") -> None:
        self.reason = f"the tokenizer's chat template {reason}"
        self.details = details
        super().__init__(f"model.chat=tokenizer: {self.reason}{details}; {fix}choose another model.chat")


class Pieces(NamedTuple):
    """A rendered conversation, cut into prompts and answers in turn."""

    texts: list[list[str]]
    """Each piece as parts that are tokenised one by one."""
    answers: list[int]
    """For each answer the number of messages up to and including it."""
    remark: Remark


def template_of(tokenizer: PreTrainedTokenizerFast, settings: ChatSettings) -> TokenizerTemplate:
    """Return the tokenizer's own template. UserError where it has none, or where it cannot be used."""
    if not tokenizer.chat_template:
        raise UserError(
            "model.chat=tokenizer: this tokenizer has no chat template; choose another model.chat, such as tulu"
        )
    try:
        text = tokenizer.get_chat_template()
    except ValueError:  # several, and none is the default
        raise UserError(
            "model.chat=tokenizer: this tokenizer has several chat templates and none is called default; choose "
            "another model.chat"
        ) from None
    names = tuple((name, value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str))
    return _template(text, names, json.dumps(settings.arguments, sort_keys=True), settings.date)


@lru_cache(8)
def _template(text: str, names: tuple[tuple[str, str], ...], arguments: str, date: str) -> TokenizerTemplate:
    return TokenizerTemplate(text, dict(names), ChatSettings(json.loads(arguments), date))


class TokenizerTemplate:
    """A template with the names of special tokens and the settings of a run. UserError if it cannot be used, or if it
    does not mention an argument."""

    def __init__(self, text: str, names: Mapping[str, str], settings: ChatSettings) -> None:
        if len(text) > LARGEST_TEMPLATE:
            raise UserError(
                f"model.chat=tokenizer: the tokenizer's chat template has {len(text):,} characters, more than "
                f"{LARGEST_TEMPLATE:,}; choose another model.chat"
            )
        self.text = text
        self.settings = settings
        self._environment = SandboxedTemplates()
        try:
            with _limited():
                tree = self._environment.parse(text)
                self.variables = find_undeclared_variables(tree)
                self._template = self._environment.from_string(text)
        except STRANGE as error:
            raise UserError(
                f"model.chat=tokenizer: the tokenizer's chat template cannot be read ({_said(error)}); choose another "
                "model.chat"
            ) from None
        known = self.variables - {*names, "strftime_now", "messages", "tools", "documents", "add_generation_prompt"}
        for name in settings.arguments:
            if name not in self.variables:
                there = nearest(name, known) if known else "; it has none"
                raise UserError(
                    f"model.chat_arguments.{name}: the tokenizer's chat template has no such variable{there}"
                )
        self._day = _built_in_day(tree, settings.date)
        self._strftime = strftime_of(datetime.fromisoformat(settings.date))
        self._given: dict[str, Any] = {"tools": None, "documents": None, "strftime_now": self._strftime, **names}
        self._given |= {**self._day, **settings.arguments}
        self._reads_thoughts = _READS_THOUGHTS.search(text) is not None
        self.knows_thoughts = self._reads_thoughts or "</think>" in text
        """Whether it has a place for thoughts."""
        self._as_parts = False
        self._as_parts = not self._prints_text() and self._prints_text(as_parts=True)

    @property
    def asks_for_date(self) -> bool:
        """Whether what it prints may depend on the day."""
        return "strftime_now" in self.variables or bool(self._day)

    @property
    def opens_thought(self) -> bool:
        """Whether every prompt ends within a thought, which an answer without one closes first."""
        return any(self._before_answer().lstrip().startswith(end) for _, end in AROUND)

    @property
    def about(self) -> dict[str, Any]:
        """What, besides its text, decides what it prints, for digests; without what is as ever."""
        facts = {
            "arguments": dict(self.settings.arguments),
            "date": self.settings.date if self.asks_for_date else None,
            "parts": self._as_parts,
            "unlearnt": self._before_answer(),
        }
        return {name: value for name, value in facts.items() if value}

    def split(self, content: str) -> tuple[str | None, str]:
        """(thought, rest) of an answer that begins with a thought in `<think>`, or with one whose begin is left out, as
        models write them after a prompt that has it, and whose end has a line of its own; (None, answer) for any other,
        where the mark may be a quote, and for templates that know no thoughts."""
        begun, mark, rest = content.partition("</think>")
        begun = begun.lstrip()
        begins = begun.startswith("<think>") or ("<think>" not in begun and begun.endswith("\n") and rest[:1] == "\n")
        if not self.knows_thoughts or not mark or not begins:
            return None, content
        return begun.removeprefix("<think>").strip("\n"), rest.lstrip("\n")

    def pieces(self, messages: Sequence[Message]) -> Pieces:
        """Return prompts and answers of a conversation up to its last answer, cut so that each prompt is what the
        template makes of the messages before. Where it shows earlier answers otherwise than when they were given, the
        last one alone is cut off. Inexpressible if not even that continues its prompt.

        An empty thought that it writes before an answer without one belongs to the prompt's piece, as a part of its
        own: it is not learnt.
        """
        answers = _answers(messages)
        turns = [self._turn(message) for message in messages[: answers[-1]]]
        earlier = self._growing(turns, answers[:-1])
        prompt = self._render(turns[:-1], to_answer=True)
        whole = self._render(turns, to_answer=False)
        if not whole.startswith(prompt):
            raise Inexpressible(
                "renders the beginning of a conversation differently when more messages follow",
                ", so a prompt would differ from what was trained",
                self._other_thinking(messages[answers[-1] - 1]),
            )
        alone = earlier is None or (bool(earlier) and not prompt.startswith(earlier[-1]))
        kept = answers[-1:] if alone else answers
        learnt = [messages[answer - 1] for answer in kept]
        cut = self._cut([*([] if alone or earlier is None else earlier), prompt, whole], learnt)
        lost = False
        for message, [answer] in zip(learnt, cut[1::2], strict=True):
            if message.content.strip() not in answer:
                raise Inexpressible("leaves out text of an answer")
            lost |= bool(message.thought) and str(message.thought).strip() not in answer
        return Pieces(cut, kept, Remark(alone, lost, any(len(piece) > 1 for piece in cut[::2])))

    def prompt(self, messages: Sequence[Message]) -> list[list[str]]:
        """The pieces of a conversation up to where the assistant answers: the same cuts as in training."""
        answers = _answers(messages)
        turns = [self._turn(message) for message in messages]
        earlier = self._growing(turns, answers)
        prompt = self._render(turns, to_answer=True)
        if not earlier or not prompt.startswith(earlier[-1]):
            return [[prompt]]
        return self._cut([*earlier, prompt], [messages[answer - 1] for answer in answers])

    def _other_thinking(self, answer: Message) -> str:
        """Advice where the prompt announces a thought that the answer lacks, or the other way round."""
        thinks = str(bool(answer.thought)).lower()
        if THINKING not in self.variables or self.settings.arguments.get(THINKING) is bool(answer.thought):
            return ""
        return f"try ++model.chat_arguments.{THINKING}={thinks}, or "

    def _turn(self, message: Message) -> Turn:
        turn: Turn = {"role": message.role, "content": message.content}
        if message.thought is not None and self._reads_thoughts:
            turn |= dict.fromkeys(FIELDS, message.thought)
        elif message.thought is not None and self.knows_thoughts:
            turn["content"] = f"<think>\n{message.thought}\n</think>\n\n{message.content}"
        if self._as_parts:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
        return turn

    def _cut(self, texts: Sequence[str], answered: Sequence[Message]) -> list[list[str]]:
        """Cut a text by what it was before: `texts` end in turn where an answer begins and where it ends."""
        pieces: list[list[str]] = []
        before = ""
        for number, text in enumerate(texts):
            piece = text[len(before) :]
            if number % 2 == 0:
                pieces.append([piece])
            else:
                empty = "" if answered[number // 2].thought is not None else _empty_thought(before, piece)
                if empty:
                    pieces[-1].append(empty)
                pieces.append([piece[len(empty) :]])
            before = text
        return pieces

    def _growing(self, turns: Sequence[Turn], answers: Sequence[int]) -> list[str] | None:
        """The conversation up to the beginning and the end of each answer, if each text continues the one before."""
        texts: list[str] = []
        for answer in answers:
            for upto, to_answer in ((answer - 1, True), (answer, False)):
                try:
                    text = self._render(turns[:upto], to_answer=to_answer)
                except Inexpressible:
                    return None
                if texts and not text.startswith(texts[-1]):
                    return None
                texts.append(text)
        return texts

    def _render(self, turns: Sequence[Turn], *, to_answer: bool) -> str:
        """Return the text. Inexpressible where the template refuses the conversation, UserError where it takes too long
        or writes too much."""
        most = MOST_MARKUP + 8 * sum(len(str(text)) for turn in turns for text in turn.values())
        written, parts = 0, []
        try:
            with _limited(), at_most(most):
                given = {**self._given, "messages": list(turns), "add_generation_prompt": to_answer}
                for part in self._template.generate(given):
                    parts.append(part)
                    written += len(part)
                    if written > most:
                        raise UserError(
                            f"model.chat=tokenizer: the tokenizer's chat template writes more than {most:,} characters "
                            "for one conversation; choose another model.chat"
                        )
                text = "".join(parts)
                text.encode()  # half characters have no tokens
        except UserError:
            raise
        except STRANGE as error:
            raise Inexpressible("refuses a conversation", f" ({_said(error)})") from None
        return text

    def after_answer(self) -> str:
        """What it writes after the text of an answer."""
        whole = self._render([self._turn(message) for message in _EXCHANGE], to_answer=False)
        if PROBE not in whole:
            raise Inexpressible("leaves out text of an answer")
        return whole.rpartition(PROBE)[2]

    def saved(self) -> str:
        """The template to save with a model: arguments that are not given have the settings' values, and the day stays
        the same, for whoever renders it. Formats of dates that it composes itself cannot be fixed so."""
        defaults = {**self._day, **self.settings.arguments}
        lines = [
            f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}\n"
            for name, value in sorted(defaults.items())
        ]
        if "strftime_now" in self.variables and (formats := _formats(self._environment.parse(self.text))):
            dates = ", ".join(f"{_literal(one)}: {_literal(self._strftime(one))}" for one in formats)
            lines.insert(0, f"{{% macro strftime_now(format) %}}{{{{ {{{dates}}}[format] }}}}{{% endmacro %}}\n")
        return "".join(lines) + self.text

    def _prints_text(self, *, as_parts: bool = False) -> bool:
        """Whether it prints what the user says, as text or as a list of parts. What it refuses is seen later."""
        content: Any = [{"type": "text", "text": PROBE}] if as_parts else PROBE
        try:
            return PROBE in self._render([{"role": "user", "content": content}], to_answer=True)
        except Inexpressible:
            return False

    def _before_answer(self) -> str:
        """The empty thought that it writes before an answer without one; empty for most."""
        try:
            found = self.pieces(_EXCHANGE)
        except Inexpressible:
            return ""
        return "".join(found.texts[0][1:])


def _answers(messages: Sequence[Message]) -> list[int]:
    """For each answer the number of messages up to and including it."""
    return [number for number, message in enumerate(messages, 1) if message.role == "assistant"]


def _empty_thought(prompt: str, answer: str) -> str:
    """The empty thought that an answer begins with, or the rest of one that the prompt has begun."""
    for beginning, end in _CLOSED_EMPTY:
        if (found := beginning.match(answer)) and (end is None or end.search(prompt)):
            return found[0]
    return ""


def _said(error: BaseException) -> str:
    words = str(error).strip() or type(error).__name__
    return shortened(visible_line(words), LONGEST_REASON)


def _literal(value: Any) -> str:
    """A plain value as Jinja writes it."""
    if isinstance(value, str):
        return ascii(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _built_in_day(tree: nodes.Template, date: str) -> dict[str, str]:
    """Variables that replace the day which a template has built in, as Llama 3.1's, if `date` is not the default."""
    if date == CHAT_DATE:
        return {}
    for assigned in tree.find_all(nodes.Assign):
        target, value = assigned.target, assigned.node
        if isinstance(target, nodes.Name) and target.name == "date_string" and isinstance(value, nodes.Const):
            for known in _DATE_FORMATS:
                with suppress(ValueError, TypeError):
                    datetime.strptime(value.value, known)
                    return {"date_string": datetime.fromisoformat(date).strftime(known)}
    return {}


def _formats(tree: nodes.Template) -> list[str]:
    """Formats in which a template asks for the day; none if it composes one."""
    formats = []
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "strftime_now":
            if len(call.args) != 1 or not isinstance(call.args[0], nodes.Const):
                return []
            formats.append(str(call.args[0].value))
    return sorted(set(formats))


@contextmanager
def _limited() -> Iterator[None]:
    """Interrupt what takes longer than SECONDS, where a signal can: in the main thread, if nobody else waits for it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGALRM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _too_long(*_: object) -> None:
    raise UserError(
        f"model.chat=tokenizer: the tokenizer's chat template takes longer than {SECONDS} s for one conversation; "
        "choose another model.chat"
    )
