import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.recreate.formatters.bigbio_ner import format_record
from sciriff.run.user_error import UserError

TYPES = "gene:Gene,family:Gene,drug:Drug,none:Other"
RECORD = {
    "id": "0",
    "document_id": "11",
    "passages": [
        {"id": "a", "type": "title", "text": [" Talp2", "in mice "], "offsets": [[0, 14]]},
        {"id": "b", "type": "abstract", "text": ["It binds mirexol."], "offsets": [[15, 32]]},
    ],
    "entities": [
        {"id": "c", "type": "family", "text": ["Talp2"], "offsets": [[0, 5]], "normalized": []},
        {"id": "d", "type": "drug", "text": ["black", "salt"], "offsets": [[0, 5], [8, 12]], "normalized": []},
        {"id": "e", "type": "gene", "text": ["Abc"], "offsets": [[0, 3]], "normalized": []},
        {"id": "f", "type": "gene", "text": ["Talp2"], "offsets": [[9, 14]], "normalized": []},
    ],
}


def test_mentions_are_distinct_and_in_order_of_appearance() -> None:
    (fields,) = format_record(RECORD, types_map=TYPES)
    assert fields == {
        "abstract": "Talp2 in mice It binds mirexol.",
        "ner_type_list": ["Gene", "Drug", "Other"],
        "ner_dict": {"Gene": ["Talp2", "Abc"], "Drug": ["black salt"], "Other": []},
    }


def test_a_row_of_parquet_gives_the_same(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([RECORD]), tmp_path / "x.parquet")
    (row,) = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [*format_record(row, types_map=TYPES)] == [*format_record(RECORD, types_map=TYPES)]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["entities", 1, "type"], "virus", ["entities[1].type", "virus", "types_map", "drug, family, gene, none"]),
        (["entities", 1, "type"], "genes", ["did you mean 'gene'"]),
        (["entities", 1, "type"], ["drug"], ["entities[1].type"]),
        (["entities", 1, "text"], "black salt", ["entities[1].text", "list"]),
        (["entities", 1, "text"], ["black", None], ["entities[1].text", "strings"]),
        (["entities", 1], "black salt", ["entities[1].text"]),
        (["entities"], None, ["entities", "list"]),
        (["passages", 1, "text"], None, ["passages[1].text"]),
        (["passages"], {"text": [["a"]]}, ["passages", "list"]),
    ],
)
def test_a_broken_record_names_the_field(path: list[Any], value: Any, words: list[str]) -> None:
    record = json.loads(json.dumps(RECORD))
    place = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(UserError) as error:
        list(format_record(record, types_map=TYPES))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "types", ["gene", "gene:Gene,", "gene:", ":Gene", "gene:Gene:Other", "", {"gene": "Gene"}, None]
)
def test_a_map_that_cannot_be_read(types: Any) -> None:
    with pytest.raises(UserError, match=r"types_map: must be .*SOURCE:NAME"):
        list(format_record(RECORD, types_map=types))
