"""A source's columns, templates and filter: what is read by them, and refused before any row is read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.config import MixSourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.column_template import ColumnTemplate
from sciriff.mix.sources import check_sources, read_conversations
from sciriff.mix.tally import MixTally
from sciriff.run.user_error import UserError

ROW = {
    "Question": "Which enzyme?",
    "Answer": "Lipase",
    "meta": {"topic": "fat", "key": 7},
    "lang": "en",
    "names": ["Ann", "Bo"],
    "sure": True,
    "note": None,
}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, columns: dict[str, Any], on_bad_row: str = "error", **more: Any) -> list[Conversation]:
    source = MixSourceConfig(path=str(path), columns=columns, **more)
    return list(read_conversations("lab", source, on_bad_row, MixTally()))


def refused(path: Path, columns: dict[str, Any], **more: Any) -> str:
    """The message with which the source is refused before a row of it is read."""
    with pytest.raises(UserError) as caught:
        check_sources({"lab": MixSourceConfig(path=str(path), columns=columns, **more)})
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000, message
    return message


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"prompt": "Question", "completion": "Answer"}, ["Which enzyme?", "Lipase"]),
        ({"instruction": "Question", "input": "meta.topic", "output": "Answer"}, ["Which enzyme?\n\nfat", "Lipase"]),
        ({"input": "Question", "output": "meta.key"}, ["Which enzyme?", "7"]),
        (
            {"prompt": "About {{ meta.topic }}: {{ Question | upper }}", "completion": "Answer"},
            ["About fat: WHICH ENZYME?", "Lipase"],
        ),
        ({"prompt": "Question", "completion": "{{ names | join(' and ') }}"}, ["Which enzyme?", "Ann and Bo"]),
        ({"prompt": "Question", "completion": '{{ "yes" if sure else "no" }}'}, ["Which enzyme?", "yes"]),
        ({"prompt": '{{ row["Question"] }}{{ note }}{{ Answer ~ note }}', "completion": "Answer"}, None),
        ({"prompt": '{{ lang ~ "\\n" ~ Answer }}', "completion": "Answer"}, ["en\nLipase", "Lipase"]),
        ({"prompt": "{{ rare | default('none') }}", "completion": "Answer"}, ["none", "Lipase"]),
        ({"system": "lang", "prompt": "Question", "completion": "Answer"}, ["en", "Which enzyme?", "Lipase"]),
    ],
)
def test_columns_and_templates(tmp_path: Path, columns: dict[str, str], expected: list[str] | None) -> None:
    found = read(lines(tmp_path / "x.jsonl", ROW), columns)
    expected = expected or ["Which enzyme?Lipase", "Lipase"]
    assert [message.content for message in found[0].messages] == expected


def test_a_table_is_read_by_the_same_columns_and_no_others(tmp_path: Path) -> None:
    odd = {"duration": pa.array([2**62], pa.duration("s"))}  # which Python has no type for
    table = pa.Table.from_pylist([{key: value for key, value in ROW.items() if key != "note"}])
    pq.write_table(table.append_column("duration", odd["duration"]), tmp_path / "x.parquet")
    columns = {"prompt": "{{ Question }} {{ meta.topic }}", "completion": "meta.key", "id": "lang", "dataset": "Answer"}
    [found] = read(tmp_path / "x.parquet", columns, filter={"sure": True, "names": "Bo"})
    assert found.name == "Lipase/en" and [m.content for m in found.messages] == ["Which enzyme? fat", "7"]
    whole = {"prompt": "{{ row | length }}", "completion": "Answer"}
    with pytest.raises(UserError, match=r"x\.parquet.*cannot be read"):
        read(tmp_path / "x.parquet", whole)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"prompt": "question", "completion": "Answer"},
            ["no column 'question'", "columns.prompt", "mean 'Question'?"],
        ),
        ({"prompt": "Question", "completion": "meta.topik"}, ["no column 'meta.topik'", "did you mean 'meta.topic'?"]),
        ({"prompt": "{{ Quest }}", "completion": "Answer"}, ["no column 'Quest'", "columns.prompt", "'Question'?"]),
        ({"prompt": '{{ row["Quest ion"] }}', "completion": "Answer"}, ["no column 'Quest ion'", "'Question'?"]),
        ({"metadata": "meta", "prompt": "Question", "completion": "Answer"}, ["columns.metadata", "no such field"]),
        ({"thought": "Answer", "messages": "Question"}, ["columns has thought, messages", "no form"]),
        ({"propmt": "Question"}, ["columns.propmt", "no such field", "did you mean 'prompt'?"]),
        ({"prompt": "Question", "output": "Answer"}, ["columns has prompt, output", "no form", "`completion`"]),
        ({"prompt": "Question"}, ["without `completion` beside `prompt`", "columns.completion=COLUMN"]),
        ({"id": "meta.key"}, ["of no known form", "columns={prompt:"]),
        ({"prompt": "{{ Question", "completion": "Answer"}, ["columns.prompt={{ Question", "not a Jinja template"]),
        ({"prompt": "{{ Question | shout }}", "completion": "Answer"}, ["not a Jinja template", "shout"]),
        ({"prompt": "{{ Answer }}\\n", "completion": "Answer"}, ["columns.prompt", "no end of a line", '{{ "\\n" }}']),
        ({"prompt": "{{ Answer }}" + " " * 10_000, "completion": "Answer"}, ["columns.prompt", "at most 10,000"]),
        ({"prompt": "{% for x in names %}{{ x }}{% endfor %}", "completion": "Answer"}, ["'for'", "if alone"]),
        ({"prompt": "{% include 'x' %}{{ Question }}", "completion": "Answer"}, ["'include'"]),
        ({"prompt": "{% set a = 1 %}", "completion": "Answer"}, ["columns.prompt", "{{ question }}"]),
        ({"prompt": "{{ " + "(" * 5000 + " }}", "completion": "Answer"}, ["not a Jinja template"]),
        ({"prompt": "", "completion": "Answer"}, ["columns.prompt must be the name of a column"]),
    ],
)
def test_what_cannot_be_meant_is_refused_before_reading(
    tmp_path: Path, columns: dict[str, str], words: list[str]
) -> None:
    message = refused(lines(tmp_path / "x.jsonl", ROW), columns)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_each_file_is_looked_at_before_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    for name, column in (("train-1", "q"), ("train-2", "question")):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "csv":
            path.write_text(f"{column},a\nHi,Hello\n")
        elif suffix == "jsonl":
            lines(path, {column: "Hi", "a": "Hello"})
        else:
            pq.write_table(pa.table({column: ["Hi"], "a": ["Hello"]}), path)
    message = refused(tmp_path, {"prompt": "q", "completion": "a"})
    assert (
        message.startswith(f"{tmp_path}/train-2.{suffix}: there is no column 'q'") and "it has question, a" in message
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ Question.__class__.__mro__ }}", ["unsafe"]),
        ("{{ Question.format.__globals__ }}", ["unsafe"]),
        ("{{ names.append('x') }}", ["unsafe"]),
        ("{{ Question * 999999999 }}", ["too long"]),
        ("{{ '%99999999d' % 7 }}", ["too wide"]),
        ("{{ names }}", ["type list", "join"]),
        ("{{ sure }}", ["type bool", "if"]),
        ("{{ meta.values }}", ["no text"]),
        ("{{ meta.topik }}", ["topik", "default"]),
        ("{{ Question + 7 }}", ["makes no text"]),
        ("{{ names[9] }}", ["makes no text"]),
    ],
)
@pytest.mark.shows("D5")
def test_a_template_runs_nothing_and_prints_no_rubbish(tmp_path: Path, template: str, words: list[str]) -> None:
    path = lines(tmp_path / "x.jsonl", ROW)
    with pytest.raises(UserError) as caught:
        read(path, {"prompt": template, "completion": "Answer"})
    message = str(caught.value)
    assert message.isprintable() and message.startswith(f"{path}:1: the template of `prompt` makes no text"), message
    assert "mix.sources.lab.columns.prompt" in message and all(word in message for word in words), message


def test_text_of_a_row_is_never_a_template(tmp_path: Path) -> None:
    hostile = "{{ 7 * 7 }} {% raw %} {{ row.__class__ }} \x1b]0;x\x07"
    [found] = read(
        lines(tmp_path / "x.jsonl", {"q": hostile, "a": hostile}), {"prompt": "Q: {{ q }}", "completion": "a"}
    )
    assert [message.content for message in found.messages] == ["Q: " + hostile, hostile]


def test_names_of_a_file_are_shown_as_text(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"\x1b[2J\n" + "q" * 500: "Hi", "‮a": "x", **{f"c{i}": 1 for i in range(500)}})
    message = refused(path, {"prompt": "question", "completion": "answer"})
    assert "and 482 more" in message and "␛[2J␊" in message


def test_a_row_filter_keeps_rows_with_one_of_the_values(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": f"{i}", "lang": lang, "year": 2000 + i} for i, lang in enumerate("abca")]
    path = lines(tmp_path / "x.jsonl", *rows, {**rows[0], "lang": None}, {**rows[0], "prompt": "", "lang": "b"})

    def kept(**filter: Any) -> str:
        return "".join(row.messages[-1].content for row in read(path, {}, filter=filter))

    assert kept(lang="a") == "03" and kept(lang=["a", "c"]) == "023" and kept(lang=[None]) == "0"
    assert kept(lang="a", year=2003) == "3" and kept(lang="a", year=["2003", 2000.0]) == "03"
    tally = MixTally()
    source = MixSourceConfig(path=str(path), filter={"lang": ["a"]})
    assert len(list(read_conversations("lab", source, "error", tally))) == 2
    assert tally.reasons == {"not of mix.sources.lab.filter": 4} and tally.read == {"lab": 6}
    with pytest.raises(
        UserError, match=r"no row has d in the column 'lang', by which .*filter chooses; it has a, b, c"
    ):
        kept(lang="d")
    assert "no column 'land'" in refused(path, {}, filter={"land": "a"})
    assert "filter.lang must be a value" in refused(path, {}, filter={"lang": {"a": 1}})


def test_a_published_source_may_be_filtered_by_any_column(tmp_path: Path) -> None:
    rows = [
        {
            "dataset": name,
            "id": name,
            "part": name,
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": name}],
        }
        for name in ("one", "two")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    lines(tmp_path / "x.jsonl", *rows)
    for name in ("x.parquet", "x.jsonl"):
        source = MixSourceConfig(path=str(tmp_path / name), filter={"part": "two"})
        assert [row.id for row in read_conversations("tulu", source, "error", MixTally())] == ["two"]
        absent = MixSourceConfig(path=str(tmp_path / name), filter={"parts": "two"})
        with pytest.raises(UserError, match=r"no column 'parts', by which mix\.sources\.tulu\.filter.*mean 'part'"):
            list(read_conversations("tulu", absent, "error", MixTally()))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, ["`chosen`", "columns={prompt: prompt, completion: chosen}"]),
        ({"chosen": [], "rejected": []}, ["`rejected`", "columns={messages: chosen}"]),
        ({"text": "Once.", "id": 3}, ["`text` alone", "pretraining", "columns={prompt: '{{", "completion: text}"]),
        ({"question": "q", "answer": "a"}, ["of no known form", "columns={prompt: question, completion: answer}"]),
        ({"conversation": [], "model": "m"}, ["of no known form", "columns={messages: conversation}"]),
        ({"No.": 1, "Question text": "q", "ANSWER": "a"}, ["columns={prompt: Question text, completion: ANSWER}"]),
        ({"a": "q", "b": "a"}, ["of no known form", "there is a, b", "columns={prompt: COLUMN, completion: COLUMN}"]),
    ],
)
def test_rows_that_teach_no_answer_are_refused_with_what_to_do(
    tmp_path: Path, row: dict[str, Any], words: list[str]
) -> None:
    message = refused(lines(tmp_path / "x.jsonl", row, row), {})
    assert all(word in message for word in ["x.jsonl: ", "mix.sources.lab.columns", *words]), message


def test_a_source_none_of_whose_rows_can_be_used_is_no_silent_hole(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", *[{"prompt": "", "completion": "a"}] * 3)
    with pytest.raises(UserError, match=r"mix\.sources\.lab \(.*x\.jsonl\) has no row .* 3 `prompt` is empty"):
        read(path, {}, "drop")


def test_the_better_of_two_answers_may_be_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"prompt": "p", "chosen": "a", "rejected": "b"})
    [found] = read(path, {"prompt": "prompt", "completion": "chosen"})
    assert [message.content for message in found.messages] == ["p", "a"]


def test_what_a_template_reads() -> None:
    def read_by(text: str) -> tuple[list[str], list[str], bool]:
        template = ColumnTemplate(text, "key")
        return template.needs, template.may_read, template.reads_all

    assert read_by("{{ a }}{% if b %}{{ c | default(d) }}{% endif %}") == (["a", "b", "d"], ["a", "b", "c", "d"], False)
    assert read_by('{{ row["x y"] }}{{ row.z }}') == (["x y", "z"], ["x y", "z"], False)
    assert read_by("{{ row[a] }}") == (["a"], ["a"], True) and read_by("{{ row }}")[2]
