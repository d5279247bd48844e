"""Describe the cells of a table as JSON lines, which the three tasks of Schema-to-JSON ask for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed
from sciriff.run.visible import visible_line

Attributes = Mapping[str, Sequence[str]]
"""Type of a cell -> keys of its description, in the order in which they are written."""


@dataclass
class Table:
    table_code: str
    sup_text: str
    """Text around the table; blank where there is none."""
    gold_json_records: dict[str, list[str]] | list[dict[str, Any]]
    """JSON of each cell under `cell_record`: in a dict of lists, or, as Parquet has it, in a list of dicts."""


def described_cells(record: Record, attributes: Attributes, *, ascii_only: bool) -> Iterator[Record]:
    """Yield the table with the text above it, and its cells, one JSON object a line.

    Of several values that annotators gave for an attribute, the first of those is taken whose words are found most
    often in the table. ValueError names a cell without a known type or with an attribute missing.
    """
    table = typed(record, Table)
    cells = table.gold_json_records
    texts = cells["cell_record"] if isinstance(cells, dict) else [cell["cell_record"] for cell in cells]
    lowered = table.table_code.lower()
    lines = []
    for number, text in enumerate(texts, 1):
        cell = _parsed(number, text, attributes)
        chosen = {key: _best(cell[key], lowered) for key in attributes[cell["type"]]}
        lines.append(json.dumps(chosen, ensure_ascii=ascii_only))
    above = f"{table.sup_text}\n\n" if table.sup_text.strip() else ""
    yield {"table_code_text": above + table.table_code, "json_records": "\n".join(lines)}


def _parsed(number: int, text: str, attributes: Attributes) -> dict[str, Any]:
    where = f"gold_json_records: cell {number}"
    try:
        cell = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error})") from None
    kind = cell.get("type") if isinstance(cell, dict) else None
    if not isinstance(kind, str) or kind not in attributes:
        raise ValueError(f"{where} has the type {visible_line(kind)!r:.40}, which is none of {', '.join(attributes)}")
    if missing := [key for key in attributes[kind] if key not in cell]:
        raise ValueError(f"{where}, of the type {kind}, has no {missing[0]!r}")
    return cell


def _best(value: Any, table: str) -> Any:
    """Return a value, or of a list of them the one with the largest share of words that stand in the table."""
    return max(value, key=lambda one: _share(str(one).lower().split(), table)) if isinstance(value, list) else value


def _share(words: list[str], table: str) -> float:
    return sum(word in table for word in words) / len(words) if words else 0.0
