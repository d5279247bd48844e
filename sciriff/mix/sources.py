"""Turn the raw rows of a source into conversations, or name the reason why a row cannot be used."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.delimited import name_shown
from sciriff.data.records import Conversation
from sciriff.data.source_files import source_files, tables_left_out
from sciriff.data.source_rows import known_columns, names_there, read_rows
from sciriff.mix.columns import RowFilter
from sciriff.mix.row_forms import ROLES as ROLE_OF
from sciriff.mix.row_forms import RowForms, row_forms
from sciriff.mix.row_text import (
    SCIENCE,
    THOUGHTS,
    BadRow,
    checked_name,
    checked_text,
    has_controls,
    thought_of,
)
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.tally import MixTally
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

ROLES = ("system", "user", "assistant")
ANSWERING = [name for name, role in ROLE_OF.items() if role == "assistant"]


def conversation_of(row: dict[str, Any]) -> Conversation:
    """Convert a raw row of SciRIFF, Tulu-V2 or a finished mix; BadRow if a model could not learn from it.

    The keys say what the row is: `messages` with `dataset` and `id` (Tulu-V2 and finished mixes), or `input` and
    `output` with `_instance_id` = `task:split:index` (SciRIFF).
    """
    if "messages" in row:
        return _general(row)
    if "input" in row and "output" in row:
        return _science(row)
    raise BadRow("neither `messages` nor `input` and `output`")


def check_sources(sources: Mapping[str, SourceConfig]) -> None:
    """Look at the beginning of every local file before one is read. UserError where one has no column that is asked
    for, or those of no form of rows."""
    for name, source in sources.items():
        if forms := row_forms(name, source):
            _check_files(name, source, forms)
        elif source.path is not None and getattr(source, "filter", None):
            for path in source_files(source):
                RowFilter(name, source).check(str(path), names_there(path))


def _check_files(name: str, source: SourceConfig, forms: RowForms) -> None:
    if source.path is None:
        return
    if tables := tables_left_out(source):
        raise UserError(
            f"{tables[0].parent}: tables, such as {name_shown(tables[0].name)}, beside files of JSON or parquet; name "
            f"one with mix.sources.{name}.path, or move the others away"
        )
    for path in source_files(source):
        forms.choose(str(path), names_there(path))


def read_conversations(
    name: str, source: SourceConfig, on_bad_row: str, tally: MixTally, science: ScienceFilter | None = None
) -> Iterator[Conversation]:
    """Stream the conversations of the source `name`; `tally` counts what is read.

    A bad row or a line that cannot be decoded is a UserError with its place and reason; unless `on_bad_row` is `error`,
    it is counted and left out. A file that breaks off is always a UserError. With `science` a row of no science task is
    of one that has the source's name, or of sciriff a bad row, and the filter selects among them.
    """

    def bad_row(where: str, reason: str, details: str = "", fix: str = "fix it") -> None:
        if on_bad_row == "error":
            raise UserError(f"{where}: {reason}{details}; {fix}, or leave such rows out with mix.on_bad_row=drop")
        tally.drop(reason, where, name)

    def unreadable(where: str, reason: str) -> None:
        tally.read[name] += 1
        # what is wrong differs from line to line, and the tally counts by kind
        bad_row(where, reason if on_bad_row == "error" else reason.partition(" (")[0])

    forms, rows_filter = row_forms(name, source), RowFilter(name, source)

    def choose(where: str, there: Collection[str]) -> list[str]:
        if forms is not None:
            return forms.choose(where, there)
        rows_filter.check(where, there)
        wanted = {*known_columns(where, there), *rows_filter.wanted(there)}
        return [column for column in there if column in wanted]

    check_sources({name: source})
    tally.read[name] = 0
    usable = 0
    for where, row in read_rows(source, unreadable, partial(tally.commits.__setitem__, name), choose):
        tally.read[name] += 1
        if not rows_filter.lets_in(row):
            tally.drop(rows_filter.reason, where, name)
            continue
        try:
            conversation = conversation_of(row) if forms is None else forms.conversation(row, where)
            if science is not None and not conversation.dataset.startswith(SCIENCE + "."):
                if name == "sciriff":
                    raise BadRow("a general row among the science rows")
                conversation = replace(conversation, dataset=f"{SCIENCE}.{name}")
        except BadRow as bad:
            bad_row(where, str(bad), bad.details, bad.fix)
            continue
        usable += 1
        if any(has_controls(message.content + (message.thought or "")) for message in conversation.messages):
            tally.read_with_control_characters.add(where)
        if _has_other_thought(row):
            tally.read_with_other_thoughts.add(where)
        task = conversation.dataset.removeprefix(SCIENCE + ".")
        if science is not None and (refusal := science.refusal(task, row, where)):
            tally.drop(refusal, conversation.name, name, conversation.dataset)
        else:
            yield conversation
    if tally.read[name]:
        rows_filter.check_values(str(source.path or source.hub))
    if forms is not None and not usable:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in tally.dropped_by_source.get(name, {}).items())
        raise UserError(
            f"mix.sources.{name} ({source.path or source.hub}) has no row that can be used: {tally.read[name]:,} "
            f"were read{reasons and f', and left out: {reasons}'}; name the right file, or leave the source out"
        )


def _science(row: dict[str, Any]) -> Conversation:
    instance_id = row.get("_instance_id")
    task, colon, _ = str(instance_id).partition(":")
    if not (task and colon and isinstance(instance_id, str)):
        raise BadRow("`_instance_id` is not task:split:index")
    question = Message("user", checked_text(row["input"], "`input`"))
    answer = Message("assistant", checked_text(row["output"], "`output`"))
    return Conversation(f"{SCIENCE}.{task}", checked_name(instance_id, "`_instance_id`"), (question, answer))


def _general(row: dict[str, Any]) -> Conversation:
    row_id, turns = row.get("id"), row["messages"]
    dataset = checked_name(row.get("dataset"), "`dataset`")
    row_id = checked_name(str(row_id) if type(row_id) is int else row_id, "`id`")
    if not isinstance(turns, list) or not turns:
        raise BadRow("`messages` is not a list of messages")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
            raise BadRow("a message without `role` and `content`")
        if (role := turn["role"]) not in ROLES:
            raise BadRow(f"a role other than {', '.join(ROLES)}")
        content = checked_text(turn["content"], f"the text of the {role}", may_be_empty=role == "system")
        messages.append(Message(role, content, thought_of(turn) if role == "assistant" else None))
    if messages[-1].role != "assistant":
        raise BadRow("the last message is not the assistant's")
    if next(message.role for message in messages if message.role != "system") == "assistant":
        raise BadRow("the assistant speaks first")
    return Conversation(dataset, row_id, tuple(messages))


def _has_other_thought(row: dict[str, Any]) -> bool:
    """Whether an answer of a usable row has something else than text where thoughts are, such as settings."""
    turns = row.get("messages") or row.get("conversations") or ()
    return any(
        turn.get(name) is not None and not isinstance(turn[name], str)
        for turn in turns
        if isinstance(turn, dict) and str(turn.get("role", turn.get("from"))).lower() in ANSWERING
        for name in THOUGHTS
    )
