import json
from pathlib import Path

import pytest

from sciriff.config import MixConfig, SourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.sources import BadRow, conversation_of, read_conversations
from sciriff.mix.tally import MixTally
from sciriff.run.json_lines import Message

SCIENCE = {"input": "Is it?", "output": "yes", "_instance_id": "pubmedqa_qa:train:7", "metadata": {}}
GENERAL = {
    "dataset": "flan_v2",
    "id": "flan_v2_3",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}


def said(*turns: tuple[object, object]) -> dict:
    return {**GENERAL, "messages": [{"role": role, "content": content} for role, content in turns]}


def test_a_science_row_becomes_a_question_and_its_answer() -> None:
    assert conversation_of(SCIENCE) == Conversation(
        "science.pubmedqa_qa", "pubmedqa_qa:train:7", (Message("user", "Is it?"), Message("assistant", "yes"))
    )


def test_a_general_row_is_taken_as_it_is() -> None:
    messages = (Message("user", "Hi"), Message("assistant", "Hello"))
    assert conversation_of(GENERAL) == Conversation("flan_v2", "flan_v2_3", messages)
    assert conversation_of({**GENERAL, "id": 3}).id == "3"
    turns = conversation_of(
        said(("system", ""), ("user", " Hi\n"), ("assistant", "a"), ("user", "b"), ("assistant", "c"))
    )
    assert [message.content for message in turns.messages] == ["", " Hi\n", "a", "b", "c"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "neither `messages` nor `input` and `output`"),
        ({"input": "x"}, "neither `messages` nor `input` and `output`"),
        ({**SCIENCE, "input": " \n"}, "`input` is empty"),
        ({**SCIENCE, "output": ""}, "`output` is empty"),
        ({**SCIENCE, "output": {"a": 1}}, "`output` is not a string"),
        ({**SCIENCE, "input": "a\0b"}, "`input` has a NUL character"),
        ({**SCIENCE, "input": "a\ud800b"}, "`input` has lone surrogates"),
        ({**SCIENCE, "_instance_id": "no colon"}, "`_instance_id` is not task:split:index"),
        ({**SCIENCE, "_instance_id": ":train:1"}, "`_instance_id` is not task:split:index"),
        ({**SCIENCE, "_instance_id": None}, "`_instance_id` is not task:split:index"),
        ({**GENERAL, "dataset": None}, "`dataset` is not a string"),
        ({**GENERAL, "id": ""}, "`id` is empty"),
        ({**GENERAL, "id": "flan\n3"}, "`id` has control characters"),
        ({**GENERAL, "dataset": "\x1b[2Jflan"}, "`dataset` has control characters"),
        ({**SCIENCE, "_instance_id": "qa\u2028:train:7"}, "`_instance_id` has control characters"),
        ({**GENERAL, "id": True}, "`id` is not a string"),
        ({**GENERAL, "messages": []}, "`messages` is not a list of messages"),
        ({**GENERAL, "messages": "Hi"}, "`messages` is not a list of messages"),
        ({**GENERAL, "messages": ["Hi"]}, "a message without `role` and `content`"),
        ({**GENERAL, "messages": [{"role": "user"}]}, "a message without `role` and `content`"),
        (said(("human", "Hi"), ("gpt", "Hello")), "a role other than system, user, assistant"),
        (said((["user"], "Hi"), ("assistant", "Hello")), "a role other than system, user, assistant"),
        (said(("user", "Hi")), "the last message is not the assistant's"),
        (said(("user", "Hi"), ("assistant", "a"), ("user", "b")), "the last message is not the assistant's"),
        (said(("assistant", "Hello")), "the assistant speaks first"),
        (said(("system", "x"), ("assistant", "Hello")), "the assistant speaks first"),
        (said(("system", "x")), "the last message is not the assistant's"),
        (said(("user", "Hi"), ("assistant", "")), "the text of the assistant is empty"),
        (said(("user", ""), ("assistant", "a")), "the text of the user is empty"),
        (said(("user", None), ("assistant", "a")), "the text of the user is not a string"),
        (said(("user", "\udc80"), ("assistant", "a")), "the text of the user has lone surrogates"),
    ],
)
def test_a_bad_row_says_why(row: dict, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        conversation_of(row)
    assert str(caught.value) == reason


def write(path: Path, rows: list[dict]) -> SourceConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SourceConfig(path=str(path))


def test_a_bad_row_stops_the_build_with_its_place(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [SCIENCE, {**SCIENCE, "output": ""}])
    with pytest.raises(ValueError, match=r"train\.jsonl:2: `output` is empty; .*mix\.on_bad_row=drop"):
        list(read_conversations("sciriff", source, "error", MixTally()))


def test_bad_rows_are_counted_by_reason_with_the_first_five(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [{**SCIENCE, "output": ""}] * 7 + [SCIENCE, said(("user", "Hi"))])
    tally = MixTally()
    assert [row.id for row in read_conversations("sciriff", source, "drop", tally)] == ["pubmedqa_qa:train:7"]
    assert tally.read == {"sciriff": 9} and tally.kept == 1
    assert tally.reasons == {"`output` is empty": 7, "the last message is not the assistant's": 1}
    assert tally.dropped["`output` is empty"].first == [f"{tmp_path}/train.jsonl:{n}" for n in (1, 2, 3, 4, 5)]


def test_a_general_row_is_no_science(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [GENERAL])
    with pytest.raises(ValueError, match="a general row among the science rows"):
        list(read_conversations("sciriff", source, "error", MixTally(), ScienceFilter(MixConfig(name="x"), ())))
    assert len(list(read_conversations("tulu", source, "error", MixTally()))) == 1


def test_control_characters_of_pdf_files_are_kept_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [{**SCIENCE, "input": "\x02̂κ"}, {**SCIENCE, "input": "\t\f\n x"}])
    tally = MixTally()
    assert next(read_conversations("sciriff", source, "error", tally)).messages[0].content == "\x02̂κ"
    list(read_conversations("sciriff", source, "error", tally := MixTally()))
    assert tally.read_with_control_characters.first == [f"{tmp_path}/train.jsonl:1"]
