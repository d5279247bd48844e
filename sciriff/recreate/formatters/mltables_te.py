"""MLTables: cells of tables of results, data and settings in papers of machine learning."""

from collections.abc import Iterator

from sciriff.recreate.cell_records import described_cells
from sciriff.recreate.corpus import Record

SETTINGS = ("model settings", "experimental settings")

ATTRIBUTES = {
    "Result": ("value", "type", "task", "metric", "training data/set", "test data/set", "model", *SETTINGS),
    "Data Stat.": ("value", "type", "dataset", "attribute name", "sub-set/group name", "dataset features"),
    "Hyper-parameter/Architecture": ("value", "type", "model", "parameter/architecture name", "dataset"),
    "Other": ("value", "type"),
}


def format_record(record: Record) -> Iterator[Record]:
    """Yield the table with the text about it, and its cells as JSON lines."""
    yield from described_cells(record, ATTRIBUTES, ascii_only=False)
