"""The sample's raw corpora become rows that say what the text says, and what they share is found."""

import json
import re
from pathlib import Path

from recreate.recreate_runs import build_rows, rows_of

from sciriff.config import SAMPLE
from sciriff.recreate.template_file import read_template_file, template_files

RECREATE = SAMPLE / "recreate"
TEMPLATES = template_files(RECREATE / "templates")
TYPES = ["CellLine", "Chemical", "Disease", "Gene", "Species", "Variant"]


def build(out: Path, **settings) -> dict[str, list[dict]]:
    tokenizer = {"tokenizer": str(SAMPLE / "tokenizer"), "context_window": 1024, "cap": 2500}
    assert build_rows(RECREATE / "templates", out, **{"raw": str(RECREATE / "raw"), **tokenizer, **settings}) == 0
    return rows_of(out)


def shared(out: Path) -> dict:
    return json.loads((out / "card.json").read_text())["shared_documents"]["biored_ner validation"]


def test_rows_of_both_corpora_with_every_name_from_the_text(tmp_path: Path):
    rows = build(tmp_path / "out", template=[0, 1])
    counts = {
        split: [sum(row["_instance_id"].startswith(task) for row in of_split) for task in sorted(TEMPLATES)]
        for split, of_split in rows.items()
    }
    assert counts == {"train": [1120, 24], "validation": [80, 48], "test": [80, 24]}
    for row in (row for of_split in rows.values() for row in of_split):
        answer = json.loads(row["output"])
        assert list(answer) == TYPES and any(answer.values())
        assert all(name in row["input"] for names in answer.values() for name in names)


def test_mentions_stand_where_the_file_says():
    for path in sorted((RECREATE / "raw/biored").iterdir()):
        for block in path.read_text().strip().split("\n\n"):
            title, abstract, *mentions = block.split("\n")
            text = f"{title.split('|', 2)[2]} {abstract.split('|', 2)[2]}"
            assert mentions
            for mention in mentions:
                _, start, end, name, _, _ = mention.split("\t")
                assert text[int(start) : int(end)] == name


def test_templates_of_a_task_ask_in_words_of_their_own(tmp_path: Path):
    rows = build(tmp_path / "out", template="all")
    for task, path in TEMPLATES.items():
        numbers = len(read_template_file(path).templates)
        of_one = [row for row in rows["test"] if re.fullmatch(rf"{task}:test:(n000|0)(:t\d)?", row["_instance_id"])]
        assert len({row["input"] for row in of_one}) == len(of_one) == numbers >= 2


def test_the_card_finds_the_abstracts_that_notes_are_about_and_a_split_by_document_leaves_them_out(tmp_path: Path):
    build(tmp_path / "published")
    assert shared(tmp_path / "published") == {
        "records": 24,
        "shared": 5,
        "with": {"bench_notes_ner": 5},
        "by": {"pmid": 5},
    }
    rows = build(tmp_path / "document", split="document")
    assert shared(tmp_path / "document")["shared"] == 0
    assert len(rows["validation"]) > 0
