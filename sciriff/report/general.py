"""General abilities in the report: each general task before and after, the items behind the change, what to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from sciriff.config import Config
from sciriff.data.general_rows import GeneralItem, GeneralSettings
from sciriff.report import figures
from sciriff.report.answers import evenly_spaced
from sciriff.report.browser import ENDINGS
from sciriff.report.packing import Part, packed
from sciriff.report.run_scores import RunScores, difference, points
from sciriff.results.difference import Difference
from sciriff.results.general_comparison import CHANGED, GeneralComparison, GeneralDifference, ItemPair, compare_general
from sciriff.results.general_items import GeneralRun, read_general
from sciriff.results.scores import ColumnScore, GeneralScores
from sciriff.results.statistics import RESAMPLES
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.run_dir import RunDir
from sciriff.run.visible import shortened, visible

ITEMS_PER_TASK = 500
"""Changed items of each task in the page at most, evenly spaced."""
LONGEST_TEXT = 4_000
"""Characters of a question, target or answer; of a longer one the middle is left out."""
PACKED = 2_400_000
"""Characters that all items take in the page at most: with SciRIFF's predictions it stays below 10 MB."""
NO_PART = "The mean of the general tasks is no part of the science mean."


@dataclass(frozen=True)
class GeneralRow:
    """A line of the table: a general task, or the mean of all."""

    name: str
    n: int
    """Documents behind `difference`, or where nothing is compared, behind `value`."""
    value: float
    ci95: tuple[float, float] | None
    strip: Markup
    of: int | None = None
    """Documents of the whole task; None for the mean."""
    told: str = ""
    """Metric, examples, and what guessing gives."""
    difference: Difference | None = None
    lost: int | None = None
    """Items that got worse, and that got better; of the mean those of all tasks."""
    won: int | None = None
    link: str = ""
    """Ends the fragments of the page at which its lost items are shown, and those won; empty if none are."""
    is_mean: bool = False


@dataclass(frozen=True)
class GeneralSection:
    """What the page shows of the general tasks."""

    sentence: str
    clause: str
    """For the sentence at the top of the page."""
    before: str | None
    """The run before; None if none of those beside this one has general tasks."""
    compared: bool
    """Whether some task could be compared with it; else the notes say why not."""
    rows: list[GeneralRow]
    notes: list[str]
    parts: list[Part]
    """The items lost and won; empty without any."""
    changed: float
    """Change of an item's value from which it is lost or won."""
    cut: str
    """What of them is not in the page, if anything."""


def read_section(config: Config, run: RunDir, scores: RunScores, beside: Sequence[RunScores]) -> GeneralSection | None:
    """Gather the section; None for a run without general tasks. The run before is the first of those beside it that
    has some. UserError names a file that is missing or damaged."""
    scored = scores.scores.get("general")
    after = read_general(run) if scored else None
    if scored is None or after is None or scored["mean"] is None:
        return None
    folders = zip(beside, config.report.beside, strict=True)
    other = next(((found, folder) for found, folder in folders if "general" in found.scores), None)
    before = read_general(RunDir(Path(other[1]))) if other else None
    if other is None or before is None:
        return section(scores.name, scored, after, None, None)
    compared = compare_general(before, after, config.eval.resamples or RESAMPLES)
    return section(scores.name, scored, after, other[0].name, compared)


def section(
    name: str, scored: GeneralScores, after: GeneralRun, before: str | None, compared: GeneralComparison | None
) -> GeneralSection:
    """The section of a run with a name, scores and items; `compared` with the run `before`, if there is one."""
    differences = {found.name: found for found in compared.tasks} if compared else {}
    parts, cut = _items(before or "", name, list(differences.values()))
    linked = {found.name for found in differences.values() if parts and (found.lost or found.won)}
    rows = [_row(task, scored, differences.get(task), task in linked) for task in scored["tasks"]]
    mean = scored["mean"]
    assert mean is not None
    of_all = compared.mean if compared else None
    if len(rows) > 1:
        rows.append(_mean_row(mean, of_all, rows))
    elif compared and compared.tasks:
        of_all = compared.tasks[0]
    notes = [*_notes(after.settings, scored), *(compared.notes if compared else [])]
    return GeneralSection(
        _sentence(mean, len(scored["tasks"]), of_all, before),
        _clause(mean, of_all, before),
        before,
        bool(differences),
        rows,
        notes,
        parts,
        CHANGED,
        cut,
    )


def _row(name: str, scored: GeneralScores, found: GeneralDifference | None, linked: bool) -> GeneralRow:
    task = scored["tasks"][name]
    limits = task.get("ci95") if found is None or found.n == task["n"] else None
    metric, _, chosen = task["metric"].partition(",")
    shots = f"{task['shots']} example{'s'[: task['shots'] != 1]}"
    return GeneralRow(
        name,
        found.n if found else task["n"],
        task["value"],
        limits,
        _strip(task["value"], limits, found),
        task["of"],
        f"{metric}{f' ({chosen})' if chosen else ''}, {shots}"
        + (f", chance {points(task['chance'])}" if "chance" in task else ""),
        found,
        len(found.lost) if found else None,
        len(found.won) if found else None,
        quote(visible(name), safe="") if linked else "",
    )


def _mean_row(mean: ColumnScore, found: Difference | None, tasks: Sequence[GeneralRow]) -> GeneralRow:
    n = found.n if found else sum(task.n for task in tasks)
    limits = mean.get("ci95") if all(task.ci95 for task in tasks) else None
    return GeneralRow(
        "mean",
        n,
        mean["value"],
        limits,
        _strip(mean["value"], limits, found),
        told=f"{found.name} tasks" if found else f"of {len(tasks)} tasks",
        difference=found,
        lost=sum(task.lost or 0 for task in tasks),
        won=sum(task.won or 0 for task in tasks),
        is_mean=True,
    )


def _strip(value: float, limits: tuple[float, float] | None, found: Difference | None) -> Markup:
    """The value with its interval, and a ring for the value before."""
    shown: ColumnScore = {"value": found.value.mean if found else value}
    if limits:
        shown["ci95"] = limits
    return figures.strip(shown, [{"value": found.baseline.mean}] if found else [])


def _clause(mean: ColumnScore, found: Difference | None, before: str | None) -> str:
    """`General abilities 41.2, −3.4 over untrained (lower).`"""
    text = f"General abilities {points(mean['value'])}"
    if found is not None:
        text += f", {difference(found.difference)} over {before} ({found.verdict})"
    return text + "."


def _sentence(mean: ColumnScore, tasks: int, found: Difference | None, before: str | None) -> str:
    what = f"The mean of {tasks} general tasks" if tasks > 1 else "The general task"
    text = f"{what} is {points(mean['value'])}"
    if found is not None:
        limits = f" (95 % interval {difference(found.ci95[0])} to {difference(found.ci95[1])})" if found.ci95 else ""
        text += f", {difference(found.difference)} over {before}{limits}: {found.verdict}"
    return f"{text}. {NO_PART}"


def _notes(settings: GeneralSettings, scored: GeneralScores) -> list[str]:
    """How the tasks were asked, and what happened to prompts and answers on the way."""
    turns = "examples as turns of a conversation" if settings.turns else "examples and question in one message"
    markup = "plain text with the examples before the question" if settings.chat == "general" else turns
    found = [
        f"Protocol: general={settings.name}, by lm-eval {settings.lm_eval}; markup {settings.chat}, {markup}; "
        f"documents and examples drawn with general.seed={settings.seed}."
    ]
    if sampled := [name for name, task in scored["tasks"].items() if task["n"] < task["of"]]:
        found.append(f"A seeded sample of the documents (general.limit), the same in every run: {', '.join(sampled)}.")
    for name, task in scored["tasks"].items():
        told = (
            (task["shortened_prompts"], "prompts that lost examples, so that they fit the model"),
            (task["skipped_prompts"], "prompts that do not fit even without examples (not asked, counted as wrong)"),
            (task["cut_answers"], "answers cut at the length limit"),
            (task["thoughts"]["unfinished"] if "thoughts" in task else 0, "thoughts that did not end (no answer came)"),
        )
        if any(number for number, _ in told):
            found.append(f"{name}: {'; '.join(f'{what}: {number:,}' for number, what in told if number)}.")
    return found


# ---- items lost and won ----


def _items(before: str, after: str, compared: Sequence[GeneralDifference]) -> tuple[list[Part], str]:
    """The items of all tasks for the page's script, `general` and for each task of it `general-0` and so on, and a
    sentence on what is left out; no part if nothing changed."""
    changed = {
        found.name: sorted((*found.lost, *found.won), key=lambda pair: (pair.leaf, pair.before.doc_id))
        for found in compared
    }
    changed = {name: pairs for name, pairs in changed.items() if pairs}
    if not changed:
        return [], ""
    most = ITEMS_PER_TASK
    while True:
        chosen = {name: evenly_spaced(pairs, most) for name, pairs in changed.items()}
        parts = [packed(f"general-{at}", list(map(_shown, pairs))) for at, pairs in enumerate(chosen.values())]
        size = sum(len(data) for _, data in parts)
        if size <= PACKED or most == 1:
            break
        most = max(1, int(0.95 * most * PACKED / size))
    tasks = [_index(name, pairs, len(changed[name])) for name, pairs in chosen.items()]
    index = packed("general", {"before": visible(before), "after": visible(after), "tasks": tasks})
    left_out = sum(map(len, changed.values())) - sum(map(len, chosen.values()))
    cut = (
        f"Of a task with more, {most:,} items are here, evenly spaced; general/ of the run has all." if left_out else ""
    )
    return [index, *parts], cut


def _index(name: str, pairs: Sequence[ItemPair], of: int) -> dict[str, Any]:
    """What lists and filters need: leaf tasks by their places, documents, and the values of both runs."""
    leaves = {leaf: place for place, leaf in enumerate(dict.fromkeys(pair.leaf for pair in pairs))}
    return {
        "name": visible(name),
        "of": of,
        "leaves": list(map(visible, leaves)),
        "leaf": [leaves[pair.leaf] for pair in pairs],
        "docs": [pair.before.doc_id for pair in pairs],
        "before": [round(pair.before.value, 3) for pair in pairs],
        "after": [round(pair.after.value, 3) for pair in pairs],
    }


def _shown(pair: ItemPair) -> Mapping[str, Any]:
    return {
        "question": _text(pair.after.question or pair.before.question),
        "target": _text(pair.after.target),
        "before": _text(pair.before.answer),
        "after": _text(pair.after.answer),
        "told": [_told(pair.before), _told(pair.after)],
    }


def _text(text: str) -> str:
    return shortened(visible(text), LONGEST_TEXT)


def _told(item: GeneralItem) -> str:
    """How the answer ended, and examples that its prompt lost."""
    endings = {
        "skipped": "not asked: the prompt does not fit the model",
        "scored": "the continuation that it finds most likely",
        "other": "ended otherwise",
        "stop": ENDINGS["stop"],
        "length": ENDINGS["length"],
        UNFINISHED_THOUGHT: ENDINGS[UNFINISHED_THOUGHT],
    }
    lost = f", {item.truncated} example{'s'[: item.truncated != 1]} left out of the prompt" if item.truncated else ""
    return endings[item.finish] + lost
