"""ChemTables: cells of tables that give the potency of compounds."""

from collections.abc import Iterator

from sciriff.recreate.cell_records import described_cells
from sciriff.recreate.corpus import Record

MEASURED = ("value", "type", "unit", "treatment", "target")

ATTRIBUTES = dict.fromkeys(("IC50", "EC50", "CC50", "MIC", "GI50"), MEASURED) | {"Other": ("value", "type")}


def format_record(record: Record) -> Iterator[Record]:
    """Yield the table and its cells as JSON lines, with Greek letters as they are."""
    yield from described_cells(record, ATTRIBUTES, ascii_only=False)
