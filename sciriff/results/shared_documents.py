"""Tasks whose instances share documents, in words: which have documents as units, and which have too few for that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FEWEST_DOCUMENTS = 30
"""With fewer documents than this the units are instances, and a note says so: how so few vary is itself uncertain."""
WHERE = "docs/statistics.md"
TOO_FEW = (
    f"fewer than {FEWEST_DOCUMENTS} documents, so answers about one document count as independent, and intervals may "
    f"be too narrow ({WHERE})"
)


@dataclass(frozen=True)
class SharedDocuments:
    """The instances of one task, of which some are about the same document."""

    task: str
    documents: int
    instances: int


def documents_lines(found: Iterable[SharedDocuments]) -> list[str]:
    """At most two lines for a table, each with all tasks that it holds for."""
    rows = list(dict.fromkeys(found))
    enough = [row for row in rows if row.documents >= FEWEST_DOCUMENTS]
    few = [row for row in rows if row.documents < FEWEST_DOCUMENTS]
    lines = [f"{_named(enough)}: answers about one document count as one ({WHERE})"] if enough else []
    if few:
        lines.append(f"{_named(few)}: {TOO_FEW}")
    return lines


def _named(rows: Sequence[SharedDocuments]) -> str:
    """`qasper (87 documents of 107 instances), scifact (166 of 184)`; of runs with other numbers all of them."""
    counts: dict[str, list[str]] = {}
    for place, row in enumerate(rows):
        documents, instances = (" documents", " instances") if place == 0 else ("", "")
        counts.setdefault(row.task, []).append(f"{row.documents:,}{documents} of {row.instances:,}{instances}")
    return ", ".join(f"{task} ({' and '.join(numbers)})" for task, numbers in counts.items())
