"""With split=document no document is both in training rows and in evaluation rows, within a task and across tasks."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from recreate_runs import build_rows, rows_of, template_text
from task_builds import build_one, write_splits

from sciriff.recreate.documents import documents_of
from sciriff.recreate.rows import write_rows
from sciriff.recreate.shared_documents import leaking, read_documents

HELD_OUT = ("biored_ner", "scifact_entailment")
TRAINED = ("cdr_ner", "kinds")
LONG = {number: f"Abstract {number} has words of its own, as abstracts do. " * 5 for number in range(6)}


def text(name: str, more: str = "") -> str:
    return template_text(name, data="x", more=more).replace("data: x", f"data_dir: {name}")


def record(documents: list[int], abstract: int | None) -> dict:
    return {
        "text": "Some text." if abstract is None else LONG[abstract],
        "label": "a",
        "_documents": [f"pmid:{number}" for number in documents],
    }


RECORDS = st.lists(
    st.builds(record, st.lists(st.integers(0, 14), max_size=2), st.sampled_from([None, None, None, *LONG])), max_size=12
)
SOURCE = st.dictionaries(st.sampled_from(["train", "validation", "test"]), RECORDS, min_size=1).filter(
    lambda source: any(source.values()) and (len(source) != 2 or "train" in source)
)
TASKS = st.fixed_dictionaries({name: st.tuples(SOURCE, st.booleans()) for name in (*HELD_OUT, *TRAINED)})


@settings(max_examples=40, deadline=None)
@given(tasks=TASKS, seed=st.integers(0, 3))
def test_no_document_is_in_training_and_evaluation_rows(tasks: dict, seed: int):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built, folders = {}, {}
        for task, (source, standardize) in tasks.items():
            write_splits(folder, task, source, text(task, "" if standardize else "standardize_splits: false\n"))
            folders[task] = folder / "out" / task
            built[task] = build_one(folder, task, out=folders[task], split="document", seed=seed)
        found = read_documents(folders)
        leaks = leaking(found, HELD_OUT)
        counts = write_rows(folders, folder / "rows", leaks)
        rows = rows_of(folder / "rows")
    documents = {entry.id: entry.documents for entries in found.values() for entry in entries}
    split_of = {row["_instance_id"]: split for split, members in rows.items() for row in members}
    of = {
        (task, split): {
            document
            for one, other in split_of.items()
            if one.startswith(f"{task}:") and other == split
            for document in documents[one]
        }
        for task in tasks
        for split in rows
    }
    for task in tasks:
        assert of[task, "train"].isdisjoint(of[task, "validation"] | of[task, "test"]), task
    for task in HELD_OUT:
        for other in tasks:
            assert of[other, "train"].isdisjoint(of[task, "validation"] | of[task, "test"]), (task, other)
    for task, (source, _) in tasks.items():
        cut = sum(entry["rows"] for entry in built[task].result.left_out.values())
        assert sum(counts[task].values()) + cut + len(leaks[task]) == sum(map(len, source.values())), "none is lost"
        assert all(split_of.get(one) is None for one in leaks[task])


def test_a_build_by_document_and_what_the_published_splits_share(tmp_path: Path):
    """The same abstract is in a held-out task's evaluation rows and in rows of another task that are trained on."""
    held_out = {
        "train": [record([number], None) for number in range(6)],
        "validation": [record([20 + number], number) for number in range(4)],
        "test": [record([30], None)],
    }
    trained = {"train": [record([], number) for number in range(6)] + [record([30], None), record([99], None)]}
    write_splits(tmp_path, "biored_ner", held_out, text("biored_ner"))
    write_splits(tmp_path, "cdr_ner", trained, text("cdr_ner", "standardize_splits: false\n"))
    assert build_rows(tmp_path, tmp_path / "published") == 0
    assert build_rows(tmp_path, tmp_path / "document", split="document") == 0
    cards = {name: json.loads((tmp_path / name / "card.json").read_text()) for name in ("published", "document")}
    shared = cards["published"]["shared_documents"]["biored_ner validation"]
    assert shared == {"records": 4, "shared": 4, "with": {"cdr_ner": 4}, "by": {"text": 4}}
    assert cards["published"]["shared_documents"]["biored_ner test"]["by"] == {"pmid": 1}
    assert all(counts["shared"] == 0 for counts in cards["document"]["shared_documents"].values())
    kept = [row["_instance_id"] for row in rows_of(tmp_path / "document")["train"]]
    assert [one for one in kept if one.startswith("cdr_ner:")] == [f"cdr_ner:train:{number}" for number in (4, 5, 7)]
    left_out = cards["document"]["tasks"]["cdr_ner"]["left_out"]
    assert left_out == {
        "has a document of the evaluation rows of biored_ner": {
            "rows": 5,
            "first": [f"cdr_ner:train:{number}" for number in (0, 1, 2, 3, 6)],
        }
    }
    assert cards["document"]["tasks"]["cdr_ner"]["rows"]["train"] == 3
    published = rows_of(tmp_path / "published")
    assert rows_of(tmp_path / "document")["validation"] == published["validation"]


def test_renderings_of_a_record_with_a_shared_document_go_together(tmp_path: Path):
    held_out = {"train": [record([1], None)], "validation": [record([2], None)], "test": [record([3], None)]}
    write_splits(tmp_path, "biored_ner", held_out, text("biored_ner"))
    templates = ["First. {{ text }}|||{{ label }}", "Second. {{ text }}|||{{ label }}"]
    two = template_text("cdr_ner", data="x", templates=templates, more="standardize_splits: false\n")
    trained = {"train": [record([number], None) for number in range(5)]}
    write_splits(tmp_path, "cdr_ner", trained, two.replace("data: x", "data_dir: cdr_ner"))
    assert build_rows(tmp_path, tmp_path / "out", split="document", template="all") == 0
    kept = [row["_instance_id"] for row in rows_of(tmp_path / "out")["train"] if row["_instance_id"].startswith("cdr")]
    assert kept == [f"cdr_ner:train:{number}{suffix}" for number in (0, 1, 4) for suffix in ("", ":t2")]


def test_a_document_is_what_is_named_and_long_texts_whatever_their_markup():
    text = LONG[0]
    spaced = text.replace(" ", "\n  ").replace(",", " — ").upper()
    one = documents_of({"_documents": ["pmid:7", "8"]}, {"text": text, "label": "x" * 199, "n": 5})
    assert one == documents_of({"_documents": ["8", "pmid:7"]}, {"body": spaced})
    assert len(one) == 3 and one[:2] == ["8", "pmid:7"]
    assert documents_of({}, {"a": "é数Α" * 80}) == documents_of({}, {"b": "É 数 α," * 80})
    assert documents_of({}, {"a": "é数α" * 80}) != documents_of({}, {"a": "e数α" * 80})
    assert documents_of({}, {"a": "x" * 199}) == []
