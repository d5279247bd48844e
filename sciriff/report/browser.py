"""The data of the browser of answers: of one run, or of up to four side by side. A script unpacks what is looked at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sciriff.data.marks import Mark, answer_digest
from sciriff.data.saved_answers import SavedAnswer
from sciriff.report.answers import ShownAnswer, evenly_spaced
from sciriff.report.cards import UNREADABLE
from sciriff.report.packing import PackedPrompts, Part, in_chunks, packed, size_of
from sciriff.report.side_by_side import Item, ShownRun, TaskItems, paired, pairing_notes
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT
from sciriff.run.visible import shortened, visible
from sciriff.tasks.metrics import matches

MATCHES = (matches.MATCH, matches.SPURIOUS, matches.MISSED, matches.WRONG_TYPE, matches.PARTLY, matches.WORDS)
"""How an item of an answer fits the reference; packed as its place here."""
MOST_ITEMS = 300
"""Items of one side that are shown; a model in a loop writes thousands."""
MOST_ANSWERS, MOST_PROMPTS = 18_000_000, 38_000_000
"""Bytes that answers with their index, and prompts, take in the page at most: with all else it stays below 60 MB."""
LONGEST_THOUGHT = 4_000
"""Characters of a thought that are shown; of a longer one the middle is left out. The rows have all."""
TOO_LARGE = "with all of them the page would be larger than 60 MB"
EXACT = 10_000
"""A score of 1 is packed as this number."""
ENDINGS = {
    "stop": "ended by the model",
    "length": "ended by the length limit",
    NO_CONTENT: "ended by the model without a word of text",
    UNFINISHED_THOUGHT: "it did not come, for the thought before it ran into its limit",
    "refusal": "refused by the model",
    "content_filter": "held back by the provider's filter",
    None: "",
}
"""Finish reason -> its words."""


@dataclass(frozen=True)
class Browser:
    """The browser of answers as the template shows it."""

    runs: list[str]
    first_is_new: bool
    """Whether a change is that of the first run against another, not that of another against the first."""
    notes: list[str]
    """What is missing or cut."""
    parts: list[Part]

    def place(self, name: str) -> int | None:
        """The number of another run than the first; None if its answers are not here."""
        return self.runs.index(name) if name in self.runs[1:] else None

    def letter(self, place: int) -> str:
        """What the page calls a run: A, B, C or D."""
        return "ABCD"[place]


def browser(
    runs: Sequence[ShownRun],
    count: int | None = None,
    *,
    first_is_new: bool = True,
    notes: Sequence[str] = (),
    marks: Sequence[Mark] = (),
) -> Browser | None:
    """The browser of these runs' answers, `count` items of each task; None if there is none.

    Parts are `index`; for each task of it, by its place there, the items in `answers-0-0`, `answers-0-1` and so on; the
    lines of all prompts in `lines-0` and so on; `marks`.
    """
    tasks = paired(runs)
    if not tasks or count == 0:
        return None
    kept = [evenly_spaced(found.items, count) for found in tasks]
    wanted = sum(map(len, kept))
    while True:
        asked = [row.answer.prompt for items in kept for item in items for row in item.given]
        prompts = PackedPrompts(asked, MOST_PROMPTS)
        parts, within = _packed(runs, tasks, kept, prompts)
        if within == 1:
            break
        kept = [evenly_spaced(items, max(1, min(int(0.95 * within * len(items)), len(items) - 1))) for items in kept]
    said = [*notes, *pairing_notes(runs, tasks)]
    if (here := sum(map(len, kept))) < wanted:
        said.append(f"{here:,} of {wanted:,} items are in this page, evenly spaced; {TOO_LARGE}.")
    if prompts.left_out:
        every = len(prompts.ranges) + prompts.left_out
        said.append(
            f"The prompts of these items are {every:,}, of which {prompts.left_out:,} are not here; {TOO_LARGE}."
        )
    shown = [asdict(mark) for mark in marks]
    return Browser([run.name for run in runs], first_is_new, said, [*parts, *prompts.parts, packed("marks", shown)])


def _packed(
    runs: Sequence[ShownRun], tasks: Sequence[TaskItems], kept: Sequence[list[Item]], prompts: PackedPrompts
) -> tuple[list[Part], float]:
    """The index and all items, and which share of the items was reached before they took too much: 1 if all fit."""
    columns = [_columns(found) for found in tasks]
    made = [_task_index(*parts) for parts in zip(tasks, kept, columns, strict=True)]
    index = {
        "matches": MATCHES,
        "runs": [_named(run.name) for run in runs],
        "starts": prompts.starts,
        "tasks": made,
    }
    size = size_of([packed("index", index)])
    every, reached = sum(map(len, kept)), 0
    parts: list[Part] = []
    for place, items in enumerate(kept):
        made[place]["starts"] = starts = []
        for part, start in in_chunks(f"answers-{place}", (_item(item, prompts) for item in items)):
            starts.append(start)
            parts.append(part)
            size += len(part[1])
            if size > MOST_ANSWERS and every > len(kept):
                return [], max(reached + start, 1) / (every + 1)
        reached += len(items)
    return [packed("index", index), *parts], 1


def _named(name: str) -> dict[str, str]:
    """A name as it is shown, and as marks have it where this differs."""
    shown = visible(name)
    return {"name": shown} if shown == name else {"name": shown, "raw": name}


def _columns(found: TaskItems) -> list[str]:
    """Short names of the task's scores of single answers: those of the summary first."""
    names = dict.fromkeys(name for item in found.items for row in item.given for name in row.scores)
    return [name for name in found.task.headline if name in names] + [
        name for name in names if name not in found.task.headline
    ]


def _task_index(found: TaskItems, items: list[Item], columns: list[str]) -> dict[str, Any]:
    """What lists and filters need: ids, the numbers of several samples, and for each run scores, flags and digests."""
    ids = [visible(item.key[0]) for item in items]
    other = {place: item.key[0] for place, item in enumerate(items) if ids[place] != item.key[0]}
    sampled = any(row.answer.sample for item in items for row in item.given)
    return {
        "name": found.task.name,
        "short": found.task.short_name,
        "of": len(found.items),
        "ids": ids,
        **({"raw": other} if other else {}),
        **({"samples": [item.key[1] for item in items]} if sampled else {}),
        "columns": columns,
        "runs": [_run_index([item.answers[run] for item in items], columns) for run in range(len(found.has))],
    }


def _run_index(rows: Sequence[ShownAnswer | None], columns: list[str]) -> dict[str, Any] | None:
    """The answers of one run; None without any."""
    if not any(rows):
        return None
    return {
        "scores": [[_exact(row.scores.get(name)) if row else None for row in rows] for name in columns],
        "flags": [_flags(row) if row else None for row in rows],
        "digests": "".join(answer_digest(row.answer.prediction) if row else "-" * 16 for row in rows),
    }


def _exact(score: float | None) -> int | None:
    return None if score is None else round(EXACT * score)


def _flags(row: ShownAnswer) -> str:
    """A letter for each filter that the answer passes."""
    found = {item.mark for item in (*row.matches.answer, *row.matches.reference)} if row.matches else ()
    known = {
        "u": row.unreadable is not None,
        "l": row.answer.finish_reason == "length",
        "h": row.answer.finish_reason == UNFINISHED_THOUGHT,
        "p": bool(row.answer.truncated_tokens),
        "s": matches.SPURIOUS in found,
        "m": matches.MISSED in found,
        "t": matches.WRONG_TYPE in found or matches.PARTLY in found,
    }
    return "".join(letter for letter, holds in known.items() if holds)


def _item(item: Item, prompts: PackedPrompts) -> dict[str, Any]:
    """The texts of an item: its reference, each run's answer, and the ranges of their prompts (null for one left out).
    A run with another reference or prompt than the first has its own."""
    reference, prompt = item.given[0].answer.reference, item.given[0].answer.prompt
    answers = []
    for row in item.answers:
        shown = _answer(row) if row else None
        if row and shown and row.answer.reference != reference:
            shown["reference"] = visible(row.answer.reference)
        if row and shown and row.answer.prompt != prompt:
            shown["prompt"] = prompts.ranges.get(row.answer.prompt)
        answers.append(shown)
    return {"reference": visible(reference), "prompt": prompts.ranges.get(prompt), "answers": answers}


def _answer(row: ShownAnswer) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "answer": visible(row.answer.prediction),
        "scores": {name: round(value, 4) for name, value in row.scores.items()},
        "unreadable": UNREADABLE.get(row.unreadable, row.unreadable) if row.unreadable else None,
        "ending": _ending(row.answer),
    }
    if row.answer.thought:
        shown["thought"] = shortened(visible(row.answer.thought), LONGEST_THOUGHT)
    if row.matches is not None:
        sides = (row.matches.answer, row.matches.reference)
        shown["items"] = [list(map(_match, side[:MOST_ITEMS])) for side in sides]
        shown["more"] = [max(len(side) - MOST_ITEMS, 0) for side in sides]
    return shown


def _match(item: matches.Item) -> list[Any]:
    """[match, text, kind], for a tuple [match, [[text, 1 if it agrees], ...]]."""
    place = MATCHES.index(item.mark)
    if item.fields:
        return [place, [[visible(text), int(agrees)] for text, agrees in item.fields]]
    return [place, visible(item.text), visible(item.kind)]


def _ending(answer: SavedAnswer) -> str:
    thought, written = answer.thought_tokens, answer.output_tokens
    if thought is not None and written is not None:
        written = max(written - thought, 0)
    parts = [
        f"prompt of {answer.prompt_tokens:,} tokens" if answer.prompt_tokens is not None else "",
        f"{answer.truncated_tokens:,} tokens of the prompt were cut" if answer.truncated_tokens else "",
        f"thought of {thought:,} tokens" if thought is not None and answer.thought != "" else "",
        f"answer of {written:,} tokens" if written is not None else "",
        ENDINGS.get(answer.finish_reason, f"finish reason {answer.finish_reason}"),
    ]
    return visible(", ".join(filter(None, parts)))
