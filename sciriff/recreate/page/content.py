"""Gather what the page of a build shows and fill its template."""

from collections.abc import Mapping
from pathlib import Path

from sciriff.recreate.examples import Lengths, TaskExamples
from sciriff.recreate.page.card_file import BuildCard, SourceEntry, TaskEntry, read_card, read_examples
from sciriff.recreate.template_file import SPLITS
from sciriff.report import bars, template
from sciriff.report.figures import Figure
from sciriff.report.mix_card import as_text
from sciriff.report.page import HERE as REPORT
from sciriff.run.visible import shortened

HERE = Path(__file__).parent
TEXT = 6_000
"""Characters shown of an input, an output and a template."""
LINE = 200
"""Characters shown of an id, a file's name or a licence."""
MOST_FILES = 24
FEW_FILES = 3
MOST = 8
"""Names in a cell of a table."""
LOST = {
    "membership": "which rows were sampled, or how splits were cut",
    "ids": "the order of the source, so the ids",
    "order": "the order of lists inside a row",
    "text": "parts of inputs or outputs, which were drawn",
}
"""What the authors' program decided without a seed -> its words."""
KINDS = {
    "pmid": "PubMed id",
    "pmc": "PubMed Central id",
    "medline": "MEDLINE id",
    "s2": "Semantic Scholar id",
    "arxiv": "arXiv id",
    "openreview": "OpenReview id",
    "doc": "document of the corpus",
    "claim": "claim",
    "text": "long text",
}
"""First part of a document's key -> its words."""


def page(folder: Path, rows: int) -> bytes:
    """The page of a build with at most `rows` rows of each task. UserError for a folder that is no build."""
    card = read_card(folder)
    examples = read_examples(folder, list(card.tasks))
    functions: template.Functions = {
        "bar": bars.bar,
        "cut": lambda text: shortened(str(text), TEXT),
        "short": lambda text: shortened(str(text), LINE),
        "tokens": _tokens,
        "longest": lambda task: max(task.longest.known, default=None),
        "left_out": lambda task: sum(entry.rows for entry in task.left_out.values()),
        "facts": _facts,
        "numbers": _numbers,
        "figures": _figures,
        "share": _share,
        "digests": _digests,
        "read": _read,
    }
    return template.filled(
        HERE / "rows.html.jinja",
        [REPORT / "page.css", HERE / "rows.css"],
        [REPORT / "page.js", HERE / "rows.js"],
        functions,
        {
            "name": folder.resolve().name,
            "sentence": _sentence(card),
            "card": card,
            "leak_sentence": _leak_sentence(card),
            "shared": [(*key.partition(" ")[::2], entry) for key, entry in card.shared_documents.items()],
            "examples": examples,
            "rows": rows,
            "most_files": MOST_FILES,
            "by_document": card.settings.get("split") == "document",
            "counted": any(task.input_tokens.known for task in card.tasks.values()),
            "settings": [(key, as_text(value)) for key, value in card.settings.items()],
            "kinds": KINDS,
        },
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _sentence(card: BuildCard) -> str:
    parts = ", ".join(f"{getattr(card.rows, split):,} {split}" for split in SPLITS)
    made = f"{_many(card.rows.all, 'row')} of {_many(len(card.tasks), 'task')}: {parts}."
    absent = []
    if card.failed:
        absent.append(f"{_many(len(card.failed), 'task')} failed")
    if card.not_at_hand:
        absent.append(f"the data of {_many(len(card.not_at_hand), 'task')} is not at hand")
    text = " and ".join(absent)
    return f"{made} {text[:1].upper()}{text[1:]}." if absent else made


def _leak_sentence(card: BuildCard) -> str:
    """What evaluation rows share with training rows, for somebody who reads no more than this."""
    records = sum(entry["records"] for entry in card.shared_documents.values())
    shared = sum(entry["shared"] for entry in card.shared_documents.values())
    if not records:
        return "None of the held-out tasks is in this build, so there is nothing that training rows could give away."
    of_these = f"Of {_many(records, 'validation or test record')} of the held-out tasks, "
    what = "a document with a training row: the same paper, claim or long text"
    if not shared:
        return f"{of_these}none shares {what}."
    worst, entry = max(card.shared_documents.items(), key=lambda item: item[1]["shared"])
    verb = "shares" if shared == 1 else "share"
    text = (
        f"{of_these}{shared:,} ({_share(shared, records)}) {verb} {what}. Most are in {shortened(worst, LINE)}: "
        f"{entry['shared']:,} of {entry['records']:,}. A model trained on these rows has read some of what it is asked "
        "about"
    )
    if card.settings.get("split") == "document":
        return f"{text}."
    return f"{text}; recreate.split=document keeps such rows out of training."


def _share(part: int, whole: int) -> str:
    """A percentage that is 0 only for none."""
    share = 100 * part / whole if whole else 0
    return "<1%" if 0 < share < 0.5 else f"{share:.0f}%"


def _tokens(task: TaskEntry) -> int | None:
    known = task.input_tokens.known + task.output_tokens.known
    return sum(known) if known else None


def _facts(name: str, task: TaskEntry) -> list[tuple[str, str]]:
    """(key, text) of all that the card says of a task in a few words."""
    metadata = {
        key.replace("_", " "): ", ".join(value) if isinstance(value, list) else value
        for key, value in task.metadata.items()
        if value
    }
    return [
        *metadata.items(),
        ("licence", shortened(task.license, LINE)),
        ("source", _source(task.source)),
        *([("not in this source", task.source.incomplete)] if task.source.incomplete else []),
        ("template file", task.template_file.name),
        ("templates used", ", ".join(map(str, task.templates))),
        *([("metric", task.metric)] if task.metric else []),
        ("lost of the published rows", "; ".join(LOST.get(kind, kind) for kind in task.lost) or "nothing"),
        *([("restored by pins", _numbers(task.pinned))] if task.pinned else []),
    ]


def _source(source: SourceEntry) -> str:
    if source.hub:
        return shortened(source.hub, LINE)
    few = len(source.files) <= FEW_FILES
    return ", ".join(shortened(name, LINE) for name in source.files) if few else _many(len(source.files), "file")


def _digests(task: TaskEntry) -> list[tuple[str, str]]:
    """(file, digest) of the template file and of the first files of the source."""
    files = list(task.source.files.items())[:MOST_FILES]
    return [(task.template_file.name, task.template_file.digest), *files]


def _numbers(counts: Mapping[str, int], words: Mapping[str, str] | None = None) -> str:
    """Counts in one line, the largest first: `long text 104, claim 28`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{shortened((words or {}).get(name, name), LINE)} {count:,}" for name, count in ordered[:MOST])
    return text + (f" and {len(ordered) - MOST:,} more" if len(ordered) > MOST else "")


def _read(counts: Mapping[str, int]) -> str:
    """Records by source split, in the order of the splits."""
    known = {split: counts[split] for split in SPLITS if split in counts}
    return ", ".join(f"{count:,} {split}" for split, count in known.items()) or "none"


def _figures(examples: TaskExamples) -> list[Figure]:
    return [_figure(f"{name}, {examples.unit}", lengths) for name, lengths in examples.lengths.items()]


def _figure(title: str, lengths: Lengths) -> Figure:
    description = f"median {lengths.median:,}, longest {lengths.longest:,}"
    return bars.binned(title[:1].upper() + title[1:], description, lengths.size, lengths.counts)
