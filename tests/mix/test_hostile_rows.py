"""Rows, tables, columns and templates at random: each ends in conversations or in one line, never in an exception."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from sciriff.config import MixSourceConfig
from sciriff.mix.columns import FIELDS
from sciriff.mix.sources import read_conversations
from sciriff.mix.tally import MixTally
from sciriff.run.user_error import UserError

NAMES = [*FIELDS, "question", "chosen", "rejected", "label", "text", "row", "a.b"]
TEXTS = ["a", "", " ", "x\0", "\x1b[2J", "{{ 7 * 7 }}", "a:b:c", '[{"role": "user", "content": "x"}]', "\ud800", "‮"]
NUMBERS = [None, True, 0, -1, 10**30, 1.5, float("nan"), float("inf")]
TEMPLATES = [
    "{{ question }}",
    "{{ row }}",
    "{{ row.items() }}",
    "{{ question | join('x') }}",
    "{{ text ~ label }}",
    "{{ question | int }}",
    "{{ text.a.b }}",
    "{% if label %}{{ text }}{% endif %}",
    "{{ row['a.b'] | default('x') }}",
    "{{ metadata | tojson }}",
    "{{ text | replace('a', text) }}",
    "{{ text.format(label) }}",
    "{{ text | indent(label) }}",
    "{{ text.__class__ }}",
    "{{",
    "{% x %}",
]
KINDS = ("jsonl", "jsonl.gz", "json", "csv", "csv.gz", "tsv")


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(5) if depth < 3 else rng.randrange(2)
    if kind < 2:
        return rng.choice(NUMBERS if kind else TEXTS)
    size = range(rng.randrange(4))
    if kind == 2:
        return [value(rng, depth + 1) for _ in size]
    if kind == 3:
        keys = ["role", "from", "content", "value", "type", "text", "tool_calls", "a.b", "thought", ""]
        return {rng.choice(keys): value(rng, depth + 1) for _ in size}
    speakers = ["user", "human", "gpt", "assistant", "system", "tool", "x", 3, None, ["user"]]
    return [
        {rng.choice(["role", "from"]): rng.choice(speakers), rng.choice(["content", "value"]): value(rng, depth + 2)}
        for _ in size
    ]


def content(rng: random.Random, kind: str) -> bytes:
    if "csv" in kind or "tsv" in kind:
        separator, cells = rng.choice(",;\t"), ["a", '"a,b"', '"x', 'x"y', "", "é", '"a\nb"', "\0", "[]"]
        header = [rng.choice([*NAMES, "", '"x"', " q"]) for _ in range(rng.randint(1, 5))]
        rows = [header] + [[rng.choice(cells) for _ in range(len(header) - rng.randrange(2))] for _ in range(4)]
        text = rng.choice(["\n", "\r\n", "\r"]).join(separator.join(row) for row in rows)
        data = text.encode(rng.choice(["utf-8", "utf-8-sig", "latin1", "utf-16"]))
    else:
        rows = [{rng.choice(NAMES): value(rng) for _ in range(rng.randrange(7))} for _ in range(rng.randrange(5))]
        data = (json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))).encode()
    if data and rng.random() < 0.2:
        place = rng.randrange(len(data))
        data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
    data = gzip.compress(data) if kind.endswith("gz") else data
    return data[: len(data) // 2] if rng.random() < 0.1 else data


@pytest.mark.shows("D1", "D5")
def test_rows_at_random(tmp_path: Path) -> None:
    rng = random.Random(7)
    read = refused = 0
    for _ in range(300):
        path = tmp_path / f"rows.{rng.choice(KINDS)}"
        path.write_bytes(content(rng, path.name.partition(".")[2]))
        columns = {rng.choice(FIELDS): rng.choice([*NAMES, ".", *TEMPLATES]) for _ in range(rng.randrange(3))}
        filter = {rng.choice(NAMES): rng.choice(["a", 1, True, None, [], ["a", None], {"x": 1}])}
        source = MixSourceConfig(path=str(path), columns=columns, filter=filter if rng.random() < 0.2 else {})
        for on_bad_row in ("error", "drop"):
            try:
                rows = list(read_conversations(rng.choice(["lab", "tulu"]), source, on_bad_row, MixTally()))
            except UserError as error:
                refused += 1
                assert not {"\n", "\x1b", "‮"} & set(str(error)) and len(str(error)) < 5000
            else:
                read += 1
                assert all(row.messages[-1].role == "assistant" and row.messages[-1].content.strip() for row in rows)
    assert read > 25 and refused > 250
