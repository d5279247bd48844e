"""Schema-to-JSON: tables of papers of materials science, chemistry and machine learning, and what each cell says."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_value


class CellRecord(TypedDict):
    cell_record: str
    """JSON."""


class DiscomatTable(TypedDict):
    paper_id: str
    table_code: str
    sup_text: str
    gold_json_records: list[CellRecord]


class NumericCell(TypedDict):
    cell_index: str
    """Row and column: `CA(2,1)`."""
    cell_value_processed: str


class ChemTable(TypedDict):
    paper_id: str
    table_processed: str
    numeric_cells: list[NumericCell]
    cell_list_gold: list[dict[str, Any]]


class MlTable(TypedDict):
    table_code: str
    text_chunk_selected: NotRequired[str | None]
    cell_list_gold: list[dict[str, Any]]


def _discomat(name: str, table: DiscomatTable) -> Record:
    records = [cell["cell_record"] for cell in table["gold_json_records"]]
    return _record(table["table_code"], table["sup_text"], records, f"doc:discomat/{table['paper_id']}")


def _chemtables(name: str, table: ChemTable) -> Record:
    """Every numeric cell in the order of rows; one that the annotators did not describe is of the type Other."""
    cells = {
        cell["cell_index"]: {"value": cell["cell_value_processed"], "type": "Other"} for cell in table["numeric_cells"]
    }
    cells |= {cell["cell_index"]: cell for cell in table["cell_list_gold"]}
    ordered = sorted(cells, key=lambda index: [int(number) for number in re.findall(r"\d+", index)])
    records = [json.dumps(cells[index]) for index in ordered]
    return _record(table["table_processed"], "", records, f"pmc:{table['paper_id'].removeprefix('PMC')}")


def _mltables(name: str, table: MlTable) -> Record:
    paper = re.sub(r"(v\d+)?_table\d+$", "", name)
    records = [json.dumps(cell) for cell in table["cell_list_gold"]]
    return _record(table["table_code"], table.get("text_chunk_selected") or "", records, f"arxiv:{paper}")


def _record(table_code: str, sup_text: str, cell_records: list[str], document: str) -> Record:
    return {
        "table_code": table_code,
        "sup_text": sup_text,
        "gold_json_records": {"cell_record": cell_records},
        "_documents": [document],
    }


def _read(kind: type, record: Callable[[str, Any], Record], split: str, files: list[Path]) -> Iterator[Record]:
    for name, table in json_value(files[0], dict[str, kind], "tables by their names").items():  # type: ignore[valid-type]
        yield record(name, table)


SPLITS = {"train": "train", "validation": "dev", "test": "test"}


def _corpus(folder: str, kind: type, record: Callable[[str, Any], Record], incomplete: str | None = None) -> Corpus:
    files = {split: (f"{folder}/{name}.json",) for split, name in SPLITS.items()}
    return Corpus(files, partial(_read, kind, record), incomplete)


DISCOMAT = _corpus("discomat", DiscomatTable, _discomat)

CORPORA = {
    "fbaigt/schema-to-json:discomat": (
        DISCOMAT,
        Corpus(
            {**DISCOMAT.files, "train": DISCOMAT.files["validation"]},
            DISCOMAT.read,
            incomplete="train.json is not there, so dev.json is the training split too, as in the published data",
        ),
    ),
    "fbaigt/schema-to-json:chemtables": (
        _corpus(
            "chemtables",
            ChemTable,
            _chemtables,
            incomplete="the repository's copy, which describes fewer cells than the hub's: others are taken as Other",
        ),
    ),
    "fbaigt/schema-to-json:mltables": (_corpus("mltables", MlTable, _mltables),),
}
