"""Rows of a source of one's own, in the forms that data sets come in, as conversations.

FORMS is in the order in which a row is looked at: the first whose fields it all has is its form. docs/mixes.md has an
example of each.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.delimited import name_shown, names_shown
from sciriff.data.records import Conversation
from sciriff.mix.columns import CONTENT, Columns, RowFilter, is_nan
from sciriff.mix.row_text import SCIENCE, BadRow, checked_name, checked_text, thought_of
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
}
"""What a turn may say that it is of, in any case -> the role of its message."""
TOOLS = {"tool", "tools", "tool_call", "tool_response", "function", "function_call", "function_response"}
TOOLS |= {"observation", "ipython", "environment"}
"""Roles of turns of programs, for which a mix has no place."""

LABEL = "label"
"""Column that says, beside prompt and completion, whether the answer is a good one."""
BESIDE_TEXT = {"text", "id", "dataset", "meta", "metadata", "source", "url", "timestamp", "added", "created"}
"""Columns of rows for pretraining."""
EMPTY: tuple[Any, ...] = (None, "", [])
"""What a table has where a row has no such field."""

SPEAKERS, TEXTS = ("role", "from"), ("content", "value")
"""Keys of a turn: who speaks, and what is said."""

SYNONYMS = {
    "prompt": ("question", "query", "instruction", "input", "source", "problem", "text", "user", "abstract"),
    "completion": ("answer", "response", "output", "target", "solution", "label", "summary", "assistant", "chosen"),
    "messages": ("conversation", "dialogue", "dialog", "turns", "chat", "chosen"),
}
"""Columns that are likely meant where a row has no known form."""

_PLACE = re.compile(r"(?:: row |:)(\d+)\Z")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """Fields that make a row one of this form, and those that it may have beside them."""

    needs: tuple[str, ...]
    may_have: tuple[str, ...]
    turns: "Callable[[RowForms, Row], Iterator[Message]]"

    @property
    def name(self) -> str:
        return " and ".join(f"`{field}`" for field in self.needs)

    def takes(self, fields: Collection[str]) -> bool:
        return set(fields) <= {*self.needs, *self.may_have}


class RowForms:
    """Reader of the rows of the source `name`. UserError where its `columns` or `filter` cannot be meant."""

    def __init__(self, name: str, source: SourceConfig) -> None:
        self.name, self.source = name, source
        self.columns = Columns(name, source)
        self.filter = RowFilter(name, source)
        mapped = [field for field in self.columns.mapped if field in CONTENT]
        self._forms = [form for form in FORMS if form.takes(mapped)]
        self._mapped = bool(mapped)
        self._name_of = lru_cache(1)(self._without_folder)
        if not self._forms:
            forms = "; ".join(form.name + _beside(form) for form in FORMS)
            raise UserError(f"{self.columns.key} has {', '.join(mapped)}, which no form of rows has together: {forms}")

    def choose(self, where: str, there: Collection[str]) -> list[str]:
        """The columns to read of those that are there. UserError where some that are needed are missing."""
        self.columns.check(where, there)
        self.filter.check(where, there)
        fields = self.columns.fields(there)
        if there and (self._is_pair(there) or not any(fields.issuperset(form.needs) for form in self._forms)):
            problem = self._formless(fields, there)
            raise UserError(f"{where}: {problem}{problem.details}; {problem.fix}")
        wanted = self.columns.wanted(there) | self.filter.wanted(there) | {LABEL}
        if "_instance_id" in fields:
            wanted.add("metadata")  # of SciRIFF's families and domains
        return [name for name in there if name in wanted]

    def conversation(self, raw: Row, where: str) -> Conversation:
        """Convert a raw row; BadRow if a model could not learn from it."""
        row = {field: None if is_nan(value) else value for field, value in self.columns.row(raw).items()}
        form = self._form(row, raw)
        self._refuse_judged(form, raw)
        messages = tuple(self._with_system(list(form.turns(self, row)), row))
        if not messages or messages[-1].role != "assistant":
            raise BadRow(
                f"the last message of {self.columns.label(form.needs[0])} is not the assistant's",
                fix="cut off what nobody answers",
            )
        if next(message.role for message in messages if message.role != "system") == "assistant":
            raise BadRow(f"the assistant speaks first in {self.columns.label(form.needs[0])}", fix="cut that turn off")
        return Conversation(*self._named(row, where), messages)

    def _form(self, row: Row, raw: Row) -> Form:
        """The form of a row. Tables have each column for every row, so that what is empty does not count at first."""
        pair = self._is_pair(raw)
        for form in () if pair else self._forms:
            if all(row.get(field) not in EMPTY for field in form.needs):
                return form
        for form in () if pair else self._forms:
            if all(field in row for field in form.needs):
                return form
        raise self._formless(set(row), raw)

    def _is_pair(self, there: Collection[str]) -> bool:
        """Whether a row has a better and a worse answer, and nobody said which columns are to be learnt."""
        return "chosen" in there and "rejected" in there and not self._mapped

    def _formless(self, fields: Collection[str], there: Collection[str]) -> BadRow:
        """Why a row with these fields and columns has none of our forms, and what to do."""
        key, names = self.columns.key, [name for name in there if "." not in name]
        details = f" (there is {names_shown(names) if names else 'nothing'})"
        if self._is_pair(there):
            reason = "a pair of answers, `chosen` and `rejected`, of which a mix learns the better alone"
            meant = "{prompt: prompt, completion: chosen}" if "prompt" in there else "{messages: chosen}"
            return BadRow(reason, details, f"say which is to be learnt: '++{key}={meant}'")
        if self._mapped:
            missing = [[field for field in form.needs if field not in fields] for form in self._forms]
            wants = " or ".join(" and ".join(map(self.columns.label, absent)) for absent in missing)
            beside = ", ".join(f"`{field}`" for field in self.columns.mapped if field in fields)
            reason = f"without {wants}" + (f" beside {beside}" if beside else "")
            return BadRow(reason, details, f"name the column with ++{key}.{missing[0][0]}=COLUMN")
        if "text" in there and set(names) <= BESIDE_TEXT:
            return BadRow(
                "`text` alone, as for pretraining, and a mix learns answers to prompts",
                details,
                f"say what a text answers, such as {key}={{prompt: '{{{{ \"Write a text.\" }}}}', completion: text}}",
            )
        reason = f"of no known form, which are {'; '.join(form.name for form in FORMS)}"
        return BadRow(reason, details, f"say which column is which, such as '++{key}={_suggested(there)}'")

    def _refuse_judged(self, form: Form, raw: Row) -> None:
        """A row of answers good and bad, told apart by a `label` that nobody filters by."""
        label = raw.get(LABEL)
        judged = isinstance(label, bool) or label in ("true", "false", "True", "False", "TRUE", "FALSE")
        if judged and form.needs == ("prompt", "completion") and LABEL not in self.filter:
            raise BadRow(
                "`label` says whether the answer is a good one, and bad ones would be learnt, too",
                fix=f"take the good ones with '++{self.filter.key}={{label: true}}'",
            )

    def _with_system(self, messages: list[Message], row: Row) -> Iterator[Message]:
        """The messages behind the row's `system`, if it has one."""
        system = row.get("system")
        if system is not None and system != "":
            text = self.text(row, "system")
            if messages and messages[0].role == "system" and messages[0].content != text:
                raise BadRow(f"{self.columns.label('system')} beside a system message", fix="keep one of them")
            if not (messages and messages[0].role == "system"):
                yield Message("system", text)
        yield from messages

    def _named(self, row: Row, where: str) -> tuple[str, str]:
        """Dataset and id: the row's own; else those of an `_instance_id`, or the source's name and the place."""
        instance_id = row.get("_instance_id")
        if instance_id not in EMPTY:
            label = self.columns.label("_instance_id")
            task, colon, _ = str(instance_id).partition(":")
            if not (task and colon and isinstance(instance_id, str)):
                raise BadRow(f"{label} is not task:split:index")
            return f"{SCIENCE}.{task}", checked_name(instance_id, label)
        dataset, row_id = (_as_text(row.get(field), self.columns.label(field)) for field in ("dataset", "id"))
        return (
            checked_name(dataset, self.columns.label("dataset")) if dataset else self.name,
            checked_name(row_id, self.columns.label("id")) if row_id else self._place(where),
        )

    def _place(self, where: str) -> str:
        """A row's place without folders, which differ from machine to machine: `questions.csv:17`, `train:17`."""
        number = _PLACE.search(where)
        assert number is not None, where
        return f"{self._name_of(where[: number.start()])}:{number[1]}"

    def _without_folder(self, file: str) -> str:
        return name_shown(self.source.split if self.source.path is None else Path(file).name)

    def text(self, row: Row, field: str) -> str:
        """The text of a field; a number is its digits."""
        label = self.columns.label(field)
        return checked_text(_as_text(row[field], label, self.columns.key + "." + field), label)

    def turns(self, row: Row, field: str) -> Iterator[Message]:
        """The messages of a list of turns, or of such a list as JSON text, the only way for tables to have one."""
        label, turns = self.columns.label(field), row[field]
        if isinstance(turns, str):
            try:
                turns = json.loads(turns)
            except (ValueError, RecursionError):
                fix = (
                    "write JSON lines in place of a table" if turns.lstrip().startswith("[") else "give a list of turns"
                )
                raise BadRow(f"{label} is text that is no list in JSON", fix=fix) from None
        if not isinstance(turns, list) or not turns:
            raise BadRow(f"{label} is not a list of messages")
        for number, turn in enumerate(turns, 1):
            yield self._message(label, turn, f" (message {number})")

    def _message(self, label: str, turn: Any, details: str) -> Message:
        turn = turn if isinstance(turn, dict) else {}
        name, content = (_first(turn, keys) for keys in (SPEAKERS, TEXTS))
        word = name.strip().lower() if isinstance(name, str) else ""
        if word.replace("-", "_") in TOOLS or turn.get("tool_calls") or turn.get("function_call"):
            raise BadRow(f"{label} has turns of tools, for which a mix has no place", details)
        if name is None or (content is None and not any(key in turn for key in TEXTS)):
            raise BadRow(f"{label} has a message without `role` and `content`, or `from` and `value`", details)
        if word not in ROLES:
            shown = f"{details[:-1]}: {name_shown(str(name))!r})"
            fix = "name it user, human, assistant, gpt or system"
            raise BadRow(f"{label} has a role other than system, user, assistant", shown, fix)
        role = ROLES[word]
        what = f"the text of the {role} in {label}"
        try:
            text = checked_text(_one_text(content, what, details), what, may_be_empty=role == "system")
        except BadRow as bad:
            raise BadRow(str(bad), details, bad.fix) from None
        return Message(role, text, thought_of(turn) if role == "assistant" else None)

    def text_or_turns(self, row: Row, field: str, role: str) -> Iterator[Message]:
        """A text as the message of a role, or a list of turns."""
        if isinstance(row[field], list):
            yield from self.turns(row, field)
        else:
            yield Message(role, self.text(row, field), self._thought(row) if role == "assistant" else None)

    def _thought(self, row: Row) -> str | None:
        thought = row.get("thought")
        return None if thought is None or thought == "" else self.text(row, "thought")


def _completed(forms: RowForms, row: Row) -> Iterator[Message]:
    yield from forms.text_or_turns(row, "prompt", "user")
    yield from forms.text_or_turns(row, "completion", "assistant")


def _instructed(forms: RowForms, row: Row) -> Iterator[Message]:
    """Instruction and input are one message, a blank line between them."""
    if row.get("history"):
        raise BadRow(f"{forms.columns.label('history')} has earlier turns", fix="give all turns as `messages`")
    question = forms.text(row, "instruction")
    if (given := row.get("input")) is not None and not (isinstance(given, str) and not given.strip()):
        question += "\n\n" + forms.text(row, "input")
    yield Message("user", question)
    yield from forms.text_or_turns(row, "output", "assistant")


def _answered(forms: RowForms, row: Row) -> Iterator[Message]:
    yield from forms.text_or_turns(row, "input", "user")
    yield from forms.text_or_turns(row, "output", "assistant")


AS_PUBLISHED = ("sciriff", "tulu", "published", "path")
"""Sources whose rows are those of SciRIFF, of Tulu-V2 or of a finished mix, unless `columns` says otherwise."""


def row_forms(name: str, source: SourceConfig) -> RowForms | None:
    """The reader of a source of one's own; None for one whose rows are as they were published. UserError where its
    `columns` or `filter` cannot be meant."""
    return None if name in AS_PUBLISHED and not getattr(source, "columns", None) else RowForms(name, source)


FORMS = (
    Form(("messages",), ("system",), lambda forms, row: forms.turns(row, "messages")),
    Form(("conversations",), ("system",), lambda forms, row: forms.turns(row, "conversations")),
    Form(("prompt", "completion"), ("system", "thought"), _completed),
    Form(("instruction", "output"), ("input", "system", "thought", "history"), _instructed),
    Form(("input", "output"), ("system", "thought"), _answered),
)


def _first(turn: Row, keys: tuple[str, ...]) -> Any:
    """The value of the first key that has one."""
    for key in keys:
        if (value := turn.get(key)) is not None:
            return value
    return None


def _one_text(content: Any, what: str, details: str) -> Any:
    """The text of a message that is given as a list with one part of text."""
    if not isinstance(content, list):
        return _as_text(content, what)
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    if len(parts) != 1 or not isinstance(parts[0], str):
        raise BadRow(f"{what} is in several parts, or no text", details, "join them; a mix has text alone")
    return parts[0]


def _as_text(value: Any, what: str, key: str = "") -> Any:
    """A number as its digits, as the file has it; what is no text otherwise is refused with a way to say it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        fix = f'say the words, such as {key}=\'{{{{ "yes" if COLUMN else "no" }}}}\'' if key else "fix it"
        raise BadRow(f"{what} is true or false, which is no text", fix=fix)
    if isinstance(value, int | float | Decimal) and not is_nan(value):
        return str(value)
    if isinstance(value, list) and key:
        fix = f"say how it is text, such as {key}='{{{{ COLUMN | join(\", \") }}}}'"
        raise BadRow(f"{what} is a list, not text", fix=fix)
    return "" if value is None or is_nan(value) else value


def _beside(form: Form) -> str:
    return f" (beside {', '.join(form.may_have)})" if form.may_have else ""


def _suggested(there: Collection[str]) -> str:
    """A mapping that may be meant."""
    meant = {field: _named_like(synonyms, there) for field, synonyms in SYNONYMS.items()}
    if meant["messages"] and not (meant["prompt"] and meant["completion"]):
        return f"{{messages: {meant['messages']}}}"
    return f"{{prompt: {meant['prompt'] or 'COLUMN'}, completion: {meant['completion'] or 'COLUMN'}}}"


def _named_like(synonyms: Collection[str], there: Collection[str]) -> str | None:
    """A column with one of these names, or one that begins with it (`Question text`), if it can be typed as it is."""
    plain = [name for name in there if re.fullmatch(r"\w[\w -]*", name)]
    for word in synonyms:
        for name in plain:
            if name.lower() == word:
                return name
    return next((name for word in synonyms for name in plain if re.match(rf"{word}[ _-]", name.lower())), None)
