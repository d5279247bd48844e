"""Validation rows: apart from the mix in every way, seeded, and as many as there are."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mix_rows import fitting, general, names, read, science, write

from sciriff.config import MixConfig, MixSourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.build import build_mix
from sciriff.mix.validation import Drawn, question_digest
from sciriff.run.json_lines import Message

TASKS = {"covid_qa": 30, "gene_ner": 12, "bioasq_list_qa": 9}  # the last is held out
SCIENCE = [science(task, i) for task, rows in TASKS.items() for i in range(rows)]
GENERAL = [general("flan", i) for i in range(40)] + [general("science.scierc_ner", i) for i in range(5)]


def sources_of(folder: Path, science_rows: list[dict] = SCIENCE, general_rows: list[dict] = GENERAL) -> dict[str, Any]:
    return {
        "sciriff": MixSourceConfig(path=str(write(folder / "sciriff" / "train.jsonl", science_rows).parent)),
        "tulu": MixSourceConfig(path=str(write(folder / "tulu.jsonl", general_rows))),
    }


def build(folder: Path, sources: dict[str, Any], **settings: object) -> tuple[list[dict], list[dict], dict[str, Drawn]]:
    """(rows of the mix, validation rows, how they were drawn)"""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"context_window": None, "per_task": 5, "validation_rows": 8, **settings}
    _, drawn = build_mix(MixConfig(name="test", sources=sources, **values), folder, fitting)  # type: ignore[arg-type]
    validation = folder / "validation.jsonl"
    return read(folder / "train.jsonl"), read(validation) if validation.exists() else [], drawn


def questions(rows: list[dict]) -> set[str]:
    return {" ".join(row["messages"][0]["content"].casefold().split()) for row in rows}


def datasets(rows: list[dict]) -> dict[str, int]:
    return dict(Counter(row["dataset"] for row in rows))


def test_they_are_left_by_the_caps_and_change_nothing(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    train, validation, drawn = build(tmp_path / "with", sources)
    without, none, _ = build(tmp_path / "without", sources, validation_rows=0)
    assert train == without and none == []
    assert datasets(validation) == {"science.covid_qa": 4, "science.gene_ner": 4, "flan": 8}
    assert not names(train) & names(validation) and len(names(validation)) == 16
    assert [drawn[half].origin for half in ("science", "general")] == [{"left by the caps": 8}] * 2
    assert list(validation[0]) == ["dataset", "id", "messages"]


def test_they_are_seeded_and_fewer_are_among_more(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    _, eight, _ = build(tmp_path / "a", sources)
    _, again, _ = build(tmp_path / "b", sources_of(tmp_path / "reversed", SCIENCE[::-1], GENERAL[::-1]))
    assert eight == again
    _, five, _ = build(tmp_path / "c", sources, validation_rows=5)
    assert names(five) < names(eight)
    _, other, _ = build(tmp_path / "d", sources, seed=1)
    assert names(other) != names(eight)


def test_a_row_that_begins_like_a_training_row_is_none(tmp_path: Path) -> None:
    # each question thrice: as it is, in capitals with other white space, and with another answer
    loud = [{**science("covid_qa", i), "input": f" COVID_QA\t question {i}\n"} for i in range(30)]
    other = [{**science("covid_qa", i), "output": "another"} for i in range(30)]
    rows = SCIENCE[:30] + loud + other
    rows = [{**row, "_instance_id": f"covid_qa:train:{i}"} for i, row in enumerate(rows)]
    train, validation, drawn = build(
        tmp_path / "out", sources_of(tmp_path, rows), per_task=25, tulu="none", validation_rows=90
    )
    science_rows = [row for row in validation if row["dataset"] == "science.covid_qa"]
    assert questions(train) | questions(science_rows) == {f"covid_qa question {i}" for i in range(30)}
    assert not questions(train) & questions(science_rows)
    assert len(questions(science_rows)) == len(science_rows) > 0
    assert drawn["science"].left_out == {"begins like another row": 90 - 25 - len(science_rows)}


def test_a_row_about_a_document_of_the_mix_is_none(tmp_path: Path) -> None:
    """Four questions are asked about each document, and other words stand before and behind it."""
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghiklmnoprstuvw", k=6)) for _ in range(2000)]
    documents = [" ".join(chance.choices(words, k=70)) for _ in range(40)]
    ask = "Read the abstract of a paper and answer the question in as few words as you can, or say that you cannot. {}"
    rows = [
        {**science(task, i), "input": f"{ask} {documents[i % 40]} What about {' '.join(chance.choices(words, k=3))}?"}
        for task in ("covid_qa", "gene_qa")
        for i in range(160)
    ]
    train, validation, drawn = build(
        tmp_path / "out", sources_of(tmp_path, rows), per_task=10, tulu="none", validation_rows=12
    )

    def asked_about(rows: list[dict]) -> set[int]:
        return {int(row["id"].rsplit(":", 1)[1]) % 40 for row in rows if row["dataset"].startswith("science")}

    assert len(drawn["science"].rows) == 12 and len(asked_about(train)) > 12
    assert not asked_about(train) & asked_about(validation)
    assert drawn["science"].left_out["with text of a row of the mix"] > 0


def test_a_row_with_the_id_of_a_training_row_is_none(tmp_path: Path) -> None:
    rows = [{**science("covid_qa", i), "_instance_id": f"covid_qa:train:{i % 10}"} for i in range(30)]
    train, validation, _ = build(tmp_path / "out", sources_of(tmp_path, rows), per_task=10, validation_rows=30)
    assert not names(train) & names(validation)


def test_held_out_tasks_never_watch(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    write(tmp_path / "sciriff" / "validation.jsonl", [science("bioasq_list_qa", i) for i in range(100, 110)])
    train, validation, _ = build(tmp_path / "out", sources, include_heldout=True, validation_rows=50)
    assert datasets(train)["science.bioasq_list_qa"] == 5
    assert datasets(validation) == {"science.covid_qa": 25, "science.gene_ner": 7, "flan": 25}


def test_forgetting_is_watched_in_a_mix_without_general_rows(tmp_path: Path) -> None:
    train, validation, _ = build(tmp_path / "out", sources_of(tmp_path), tulu="none")
    assert datasets(train) == {"science.covid_qa": 5, "science.gene_ner": 5}
    assert datasets(validation)["flan"] == 8
    train, validation, _ = build(tmp_path / "out", sources_of(tmp_path), per_task=0, tulu=10)
    assert datasets(train) == {"flan": 10}
    assert datasets(validation) == {"science.covid_qa": 4, "science.gene_ner": 4, "flan": 8}
    only_science = {"sciriff": sources_of(tmp_path)["sciriff"]}
    _, validation, drawn = build(tmp_path / "out", only_science, tulu="none")
    assert set(drawn) == {"science"} and len(validation) == 8


def test_the_validation_split_fills_up(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    fresh = [science("covid_qa", i) for i in range(100, 120)] + [science("gene_ner", i) for i in range(100, 103)]
    split = [*SCIENCE, *fresh]  # the first of them are training rows
    split = [{**row, "_instance_id": row["_instance_id"].replace(":train:", ":dev:")} for row in split]
    write(tmp_path / "sciriff" / "validation.jsonl", split)
    train, validation, drawn = build(tmp_path / "out", sources, per_task=None, tulu="none", validation_rows=10)
    assert len(train) == 42 and drawn["science"].origin == {"validation split": 10}
    assert datasets(validation) == {"science.covid_qa": 7, "science.gene_ner": 3, "flan": 10}
    assert not questions(train) & questions(validation)
    _, _, drawn = build(tmp_path / "out", sources, per_task=28, tulu="none", validation_rows=10)
    assert drawn["science"].origin == {"left by the caps": 2, "validation split": 8}


def test_a_single_file_has_no_other_split(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    sources["sciriff"].path += "/train.jsonl"
    write(tmp_path / "sciriff" / "validation.jsonl", [science("covid_qa", i) for i in range(100, 120)])
    _, validation, drawn = build(tmp_path / "out", sources, per_task=None, tulu="all")
    assert validation == [] and drawn == {"science": Drawn(), "general": Drawn()}
    assert not (tmp_path / "out" / "validation.jsonl").exists()


def test_a_hub_dataset_without_the_split_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub: `datasets` reads both alike."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hub = tmp_path / "hub"
    write(hub / "train.jsonl", SCIENCE)
    sources = {"sciriff": MixSourceConfig(hub=str(hub))}
    train, _, drawn = build(tmp_path / "out", sources, per_task=None, tulu="none")
    assert len(train) == 42 and drawn == {"science": Drawn()}
    write(hub / "validation.jsonl", [science("covid_qa", i) for i in range(100, 105)])
    _, _, drawn = build(tmp_path / "out", sources, per_task=None, tulu="none")
    assert drawn["science"].origin == {"validation split": 5}


def test_they_pass_the_filters_and_fit_the_window(tmp_path: Path) -> None:
    long = [{**science("covid_qa", i), "input": f"{i} " + "x" * 200} for i in range(100, 120)]
    _, validation, drawn = build(
        tmp_path / "out", sources_of(tmp_path, SCIENCE + long), tasks=["covid_qa"], context_window=120, per_task=20
    )
    assert datasets(validation) == {"science.covid_qa": 8, "flan": 8}
    assert max(len(row["messages"][0]["content"]) for row in validation) < 100
    _, validation, drawn = build(
        tmp_path / "out", sources_of(tmp_path, SCIENCE[:10] + long), per_task=10, context_window=120, tulu="none"
    )
    assert len(drawn["science"].rows) == 0


def test_rows_that_epochs_leave_out_may_watch(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    sources["sciriff"].epochs = 0.5
    train, validation, drawn = build(tmp_path / "out", sources, per_task=None, tulu="none", validation_rows=100)
    assert len(train) == 21 and len(drawn["science"].rows) == 21 and not names(train) & names(validation)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("What is this?", "  what IS\n\tthis? ", True),
        ("ﬁnd Å", "find Å", True),
        ("What is this?", "What is that?", False),
        ("ab c", "a bc", False),
    ],
)
def test_what_counts_as_the_same_question(first: str, second: str, same: bool) -> None:
    def digest(question: str, *before: Message) -> bytes:
        return question_digest(Conversation("d", "i", (*before, Message("user", question), Message("assistant", "a"))))

    assert (digest(first) == digest(second)) is same
    assert digest(first) == digest(first, Message("system", "You are helpful."))
