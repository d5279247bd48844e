"""Find the documents that evaluation rows of held-out tasks share with training rows, across tasks."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.recreate.task_build import DOCUMENTS
from sciriff.run.json_lines import read_jsonl

EVALUATION = ("validation", "test")


@dataclass(frozen=True)
class RowDocuments:
    """The documents of one record and the split that it is in."""

    id: str
    split: str
    documents: list[str]


def read_documents(folders: Mapping[str, Path]) -> dict[str, list[RowDocuments]]:
    """Read the documents of the records of finished tasks, task -> records."""
    return {task: list(read_jsonl(folder / DOCUMENTS, RowDocuments)) for task, folder in folders.items()}


def leaking(records: Mapping[str, list[RowDocuments]], held_out: Collection[str]) -> dict[str, dict[str, str]]:
    """Return task -> training record -> the held-out task whose evaluation rows have one of its documents."""
    evaluated = _evaluated(records, held_out)
    return {
        task: {
            record.id: next(evaluated[document] for document in record.documents if document in evaluated)
            for record in rows
            if record.split == "train" and any(document in evaluated for document in record.documents)
        }
        for task, rows in records.items()
    }


def _evaluated(records: Mapping[str, Iterable[RowDocuments]], held_out: Collection[str]) -> dict[str, str]:
    """Return document -> the held-out task whose evaluation rows have it, the first by name."""
    return {
        document: task
        for task in sorted(set(records) & set(held_out), reverse=True)
        for record in records[task]
        if record.split in EVALUATION
        for document in record.documents
    }


def shared(records: Mapping[str, list[RowDocuments]], held_out: Collection[str]) -> dict[str, dict[str, Any]]:
    """Count evaluation records with a document of training records: "task split" -> records, those that share one, how
    many with each task's training records, and how many by each kind of document."""
    trained: dict[str, set[str]] = {}
    for task, rows in records.items():
        for record in rows:
            if record.split == "train":
                for document in record.documents:
                    trained.setdefault(document, set()).add(task)
    counts: dict[str, dict[str, Any]] = {}
    for task in sorted(set(records) & set(held_out)):
        for split in EVALUATION:
            rows = [record for record in records[task] if record.split == split]
            found = [[document for document in record.documents if document in trained] for record in rows]
            counts[f"{task} {split}"] = {
                "records": len(rows),
                "shared": sum(map(bool, found)),
                "with": _counts([{one for document in documents for one in trained[document]} for documents in found]),
                "by": _counts([{document.partition(":")[0] for document in documents} for documents in found]),
            }
    return counts


def _counts(found: list[set[str]]) -> dict[str, int]:
    return {one: sum(one in names for names in found) for one in sorted(set().union(*found))}
