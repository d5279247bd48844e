"""The embedded sample: it can be made again byte for byte, holds nothing that it must not, and its formats parse."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciriff.config import SAMPLE
from sciriff.run.json_lines import read_json_objects
from sciriff.tasks.catalogue import catalogue
from tools.sample.documents import EFFECTS
from tools.sample.generate import generate
from tools.sample.heldout import HELD_OUT as HELD_OUT_ROWS
from tools.sample.science import BIOMEDICAL_TYPES, SCIERC_TYPES

FILES = (
    "sciriff/train.jsonl",
    "sciriff/validation.jsonl",
    "tulu.jsonl",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "own/chats.jsonl.gz",
    "own/notes.parquet",
    "own/quiz.csv",
    "recreate/raw/bench_notes/test.jsonl",
    "recreate/raw/bench_notes/train.jsonl",
    "recreate/raw/biored/Dev.PubTator",
    "recreate/raw/biored/Test.PubTator",
    "recreate/raw/biored/Train.PubTator",
)
HELD_OUT = {
    "bioasq_list_qa",
    "biored_ner",
    "discomat_te",
    "evidence_inference",
    "multicite_intent_classification",
    "mup_single_document_summarization",
    "qasper_abstractive_qa",
    "scierc_ner",
    "scifact_entailment",
}


@cache
def rows(name: str) -> list[dict[str, Any]]:
    return [row for _, row in read_json_objects(SAMPLE / name)]


def train() -> list[dict[str, Any]]:
    return rows("sciriff/train.jsonl")


def validation() -> list[dict[str, Any]]:
    return rows("sciriff/validation.jsonl")


def general() -> list[dict[str, Any]]:
    return [row for row in rows("tulu.jsonl") if not row["dataset"].startswith("science")]


def task_of(row: dict[str, Any]) -> str:
    return row["_instance_id"].split(":")[0]


def answers(task: str) -> list[tuple[str, Any]]:
    """(input, parsed output) of the held-out task's rows."""
    return [(row["input"], json.loads(row["output"])) for row in validation() if task_of(row) == task]


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")


def test_the_generator_writes_the_same_bytes_again(tmp_path: Path) -> None:
    generate(tmp_path)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert written == sorted(FILES)
    for name in FILES:
        ours, made = ((folder / name) for folder in (SAMPLE, tmp_path))
        same = pq.read_table(ours) == pq.read_table(made) if name.endswith(".parquet") else False  # has its version
        assert same or made.read_bytes() == ours.read_bytes(), f"run python -m tools.sample.generate: {name}"


def test_the_files_are_small() -> None:
    assert sum((SAMPLE / name).stat().st_size for name in FILES) < 1_800_000


def test_training_tasks_are_in_the_catalogue_and_none_is_held_out() -> None:
    counts = Counter(task_of(row) for row in train())
    assert len(counts) >= 14 and min(counts.values()) >= 30
    assert set(counts) <= set(catalogue()) - HELD_OUT


def test_every_held_out_task_has_rows() -> None:
    counts = Counter(task_of(row) for row in validation())
    assert set(counts) == HELD_OUT == {task for task, _, _ in HELD_OUT_ROWS}
    assert min(counts.values()) >= 16


@pytest.mark.parametrize(("split", "read"), [("train", train), ("validation", validation)])
def test_science_rows_have_the_published_format(split: str, read: Any) -> None:
    seen = Counter()
    for row in read():
        assert set(row) == {"input", "output", "metadata", "_instance_id"}
        task = task_of(row)
        assert row["_instance_id"] == f"{task}:{split}:{seen[task]}"
        seen[task] += 1
        assert row["metadata"]["domains"] == list(catalogue()[task].domains)
        assert row["metadata"]["task_family"] == catalogue()[task].family
        assert set(row["metadata"]) == {"domains", "input_context", "source_type", "task_family", "output_context"}
        assert row["input"] and row["output"]


def test_general_rows_have_tulus_format() -> None:
    ids = [row["id"] for row in rows("tulu.jsonl")]
    assert len(set(ids)) == len(ids)
    for row in rows("tulu.jsonl"):
        roles = [message["role"] for message in row["messages"]]
        assert set(row) == {"dataset", "id", "messages"}
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in row["messages"])


def test_general_rows_are_varied_and_some_are_science_that_a_mix_must_drop() -> None:
    assert len(general()) >= 150
    assert len({row["dataset"] for row in general()}) >= 4
    assert any(len(row["messages"]) > 3 for row in general())
    assert any(row["messages"][0]["role"] == "system" for row in general())
    science = {row["dataset"] for row in rows("tulu.jsonl")} - {row["dataset"] for row in general()}
    assert science == {f"science.{task}" for task in HELD_OUT}
    assert len(rows("tulu.jsonl")) - len(general()) >= 15


@pytest.mark.parametrize("task", ["bioasq_list_qa", "multicite_intent_classification"])
def test_lists_of_strings(task: str) -> None:
    for prompt, answer in answers(task):
        assert answer and all(isinstance(item, str) and item in prompt for item in answer)
        assert len(set(answer)) == len(answer)


@pytest.mark.parametrize(("task", "types"), [("biored_ner", BIOMEDICAL_TYPES), ("scierc_ner", SCIERC_TYPES)])
def test_entities_stand_in_their_text(task: str, types: tuple[str, ...]) -> None:
    for prompt, answer in answers(task):
        assert tuple(answer) == types
        assert all(name.lower() in prompt.lower() for names in answer.values() for name in names)
        assert any(answer.values())


def test_findings_are_five_strings_with_evidence_from_the_text() -> None:
    for prompt, answer in answers("evidence_inference"):
        assert f"the {len(answer)} finding(s)" in prompt
        for intervention, comparator, outcome, effect, evidence in answer:
            assert effect in EFFECTS
            assert all(span in prompt for span in (intervention, comparator, outcome, evidence))
            assert intervention != comparator


def test_verdicts_come_with_evidence_from_the_abstract() -> None:
    verdicts = Counter()
    for prompt, answer in answers("scifact_entailment"):
        verdicts[answer["verdict"]] += 1
        assert set(answer) == {"verdict", "evidence"}
        assert bool(answer["evidence"]) == (answer["verdict"] != "NEI")
        assert all(sentence in prompt.split("\n") for sentence in answer["evidence"])
    assert set(verdicts) == {"SUPPORT", "CONTRADICT", "NEI"}


def test_answers_about_papers_come_with_a_paragraph() -> None:
    for prompt, answer in answers("qasper_abstractive_qa"):
        assert set(answer) == {"answer", "evidence"}
        assert answer["answer"].lower() in answer["evidence"][0].lower()
        assert all(paragraph in prompt.split("\n") for paragraph in answer["evidence"])


def test_table_cells_are_json_lines() -> None:
    for row in validation():
        if task_of(row) == "discomat_te":
            for line in row["output"].split("\n"):
                cell = json.loads(line)
                assert set(cell) == {"value", "type", "constituent", "unit", "material"}
                assert f" {cell['value']} |" in row["input"]


def test_summaries_are_plain_text() -> None:
    for row in validation():
        if task_of(row) == "mup_single_document_summarization":
            assert row["output"] in row["input"] and row["output"][0] not in "[{"


def test_train_and_validation_share_no_prompt_no_instruction_and_no_long_text() -> None:
    def instruction(row: dict[str, Any]) -> str:
        return row["input"].split("\n")[0]

    def runs(row: dict[str, Any], words: int = 18) -> set[tuple[str, ...]]:
        text = row["input"].partition("\n")[2].split()
        return {tuple(text[i : i + words]) for i in range(len(text) - words + 1)}

    assert not {instruction(row) for row in train()} & {instruction(row) for row in validation()}
    trained = set[tuple[str, ...]]().union(*map(runs, train()))
    assert not trained & set[tuple[str, ...]]().union(*map(runs, validation()))


def test_no_answer_of_a_held_out_row_can_be_learnt_by_heart() -> None:
    trained = {row["output"] for row in train()} | {m["content"] for row in general() for m in row["messages"]}
    for row in validation():
        # A label set is all that multicite's answers are; whatever has names in it must be new.
        if task_of(row) != "multicite_intent_classification" and '"NEI"' not in row["output"]:
            assert row["output"] not in trained


def test_the_tokenizer_fits_the_rows() -> None:
    encode = tokenizer()
    assert len(encode) <= 4096
    for row in [*train(), *validation()]:
        prompt, answer = len(encode(row["input"]).input_ids), len(encode(row["output"]).input_ids)
        assert prompt <= 700 and answer <= 150


def test_special_tokens() -> None:
    encode = tokenizer()
    assert (encode.bos_token, encode.eos_token, encode.pad_token) == ("<s>", "</s>", "<pad>")
    assert len({encode.bos_token_id, encode.eos_token_id, encode.pad_token_id}) == 3
    ids = encode("Hello").input_ids
    assert ids[0] == encode.bos_token_id and encode.eos_token_id not in ids
    assert ids[1:] == encode("Hello", add_special_tokens=False).input_ids


def test_a_name_has_the_same_tokens_in_a_text_and_in_json() -> None:
    encode = tokenizer()
    text, quoted = (encode(f"{before}Velorinib", add_special_tokens=False).input_ids for before in ("by ", '["'))
    name = encode("Velorinib", add_special_tokens=False).input_ids
    assert text[-len(name) :] == quoted[-len(name) :] == name


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80))
def test_the_tokenizer_loses_no_byte(text: str) -> None:
    encode = tokenizer()
    ids = encode(text, add_special_tokens=False).input_ids
    special = {encode.bos_token_id, encode.eos_token_id, encode.pad_token_id}
    if not special & set(ids):
        assert encode.decode(ids, clean_up_tokenization_spaces=False) == text


def test_role_tags_are_ordinary_text() -> None:
    encode = tokenizer()
    ids = encode("<|user|>\nHello\n<|assistant|>\n", add_special_tokens=False).input_ids
    assert encode.decode(ids, skip_special_tokens=True) == "<|user|>\nHello\n<|assistant|>\n"
