"""DiSCoMaT: cells of tables that give the composition of glasses."""

from collections.abc import Iterator

from sciriff.recreate.cell_records import described_cells
from sciriff.recreate.corpus import Record

ATTRIBUTES = {
    "Glass_Compound_Amount": ("value", "type", "constituent", "unit", "material"),
    "Other": ("value", "type"),
}


def format_record(record: Record) -> Iterator[Record]:
    """Yield the table and its cells as JSON lines, in ASCII."""
    yield from described_cells(record, ATTRIBUTES, ascii_only=True)
