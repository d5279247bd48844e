import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from sciriff.config import MixConfig, MixSourceConfig, SourceConfig, SourcesConfig
from sciriff.mix.build import build_mix
from sciriff.mix.tally import Tally
from sciriff.records import Conversation, dumps

TASKS = {"covid_qa": 30, "gene_ner": 12, "bioasq_list_qa": 9}  # the last is held out


def science(task: str, i: int) -> dict:
    return {"input": f"{task} question {i}", "output": f"answer {i}", "_instance_id": f"{task}:train:{i}"}


def general(dataset: str, i: int) -> dict:
    turns = [("user", f"{dataset} asks {i}"), ("assistant", f"says {i}")]
    return {"dataset": dataset, "id": f"{dataset}_{i}", "messages": [{"role": r, "content": c} for r, c in turns]}


SCIENCE = [science(task, i) for task, rows in TASKS.items() for i in range(rows)]
GENERAL = [general("flan", i) for i in range(40)] + [general("science.scierc_ner", i) for i in range(5)]


def write(path: Path, rows: Sequence[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def characters(conversations: Sequence[Conversation]) -> list[int]:
    """A measure of length that needs no tokenizer."""
    return [sum(len(message.content) for message in conversation.messages) for conversation in conversations]


@pytest.fixture
def sources(tmp_path: Path) -> SourcesConfig:
    return SourcesConfig(
        sciriff=MixSourceConfig(path=str(write(tmp_path / "sciriff" / "train.jsonl", SCIENCE).parent)),
        tulu=MixSourceConfig(path=str(write(tmp_path / "tulu.jsonl", GENERAL))),
    )


def build(folder: Path, sources: SourcesConfig, **settings: object) -> tuple[Tally, list[dict]]:
    folder.mkdir(exist_ok=True)
    mix = MixConfig(name="test", sources=sources, **{"context_window": None, **settings})  # type: ignore[arg-type]
    tally, _ = build_mix(mix, folder, characters)
    assert [path.name for path in folder.iterdir()] == ["train.jsonl"]  # no spool is left
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert tally.kept == len(rows)
    return tally, rows


def names(rows: list[dict]) -> set[str]:
    return {f"{row['dataset']}/{row['id']}" for row in rows}


def test_a_mix_of_both_sources(tmp_path: Path, sources: SourcesConfig) -> None:
    tally, rows = build(tmp_path / "out", sources, per_task=10)
    assert Counter(row["dataset"] for row in rows) == {"science.covid_qa": 10, "science.gene_ner": 10, "flan": 20}
    assert tally.read == {"sciriff": 51, "tulu": 45}
    assert tally.reasons == {
        "of a held-out task": 9,
        "over mix.per_task": 22,
        "a science row of the general source": 5,
        "over mix.tulu": 20,
    }
    row = next(row for row in rows if row["id"] == "gene_ner:train:3" or row["dataset"] == "science.gene_ner")
    i = row["id"].rsplit(":", 1)[1]
    assert row["messages"] == [
        {"role": "user", "content": f"gene_ner question {i}"},
        {"role": "assistant", "content": f"answer {i}"},
    ]
    assert list(row) == ["dataset", "id", "messages"]


def test_the_order_is_mixed(tmp_path: Path, sources: SourcesConfig) -> None:
    _, rows = build(tmp_path / "out", sources, per_task=None, tulu="all")
    first = Counter(row["dataset"].startswith("science") for row in rows[: len(rows) // 2])
    assert min(first[True], first[False]) > 10


def test_the_bytes_do_not_depend_on_files_and_their_order(tmp_path: Path, sources: SourcesConfig) -> None:
    build(tmp_path / "one", sources, per_task=7)
    write(tmp_path / "shards" / "train-0.jsonl", SCIENCE[:20:-1])
    write(tmp_path / "shards" / "train-1.jsonl", SCIENCE[20::-1])
    write(tmp_path / "tulu.jsonl", GENERAL[::-1])
    sources.sciriff.path = str(tmp_path / "shards")
    build(tmp_path / "two", sources, per_task=7)
    assert (tmp_path / "one" / "train.jsonl").read_bytes() == (tmp_path / "two" / "train.jsonl").read_bytes()
    build(tmp_path / "three", sources, per_task=7, seed=1)
    assert (tmp_path / "one" / "train.jsonl").read_bytes() != (tmp_path / "three" / "train.jsonl").read_bytes()


def test_larger_mixes_contain_smaller_ones(tmp_path: Path, sources: SourcesConfig) -> None:
    mixes = [names(build(tmp_path / "out", sources, per_task=cap)[1]) for cap in (1, 5, 20, None)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))
    mixes = [names(build(tmp_path / "out", sources, per_task=3, tulu=tulu)[1]) for tulu in ("none", 4, "match", "all")]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))


def test_first_takes_the_first_of_each_task(tmp_path: Path, sources: SourcesConfig) -> None:
    _, rows = build(tmp_path / "out", sources, per_task=2, tulu="none", take="first")
    assert names(rows) == {f"science.{task}/{task}:train:{i}" for task in ("covid_qa", "gene_ner") for i in (0, 1)}


def test_heldout_tasks_enter_only_when_told_to(tmp_path: Path, sources: SourcesConfig) -> None:
    tally, rows = build(tmp_path / "out", sources, include_heldout=True, tulu="none")
    assert Counter(row["dataset"] for row in rows)["science.bioasq_list_qa"] == 9
    assert tally.reasons == {}


def test_long_rows_make_room_for_others(tmp_path: Path, sources: SourcesConfig) -> None:
    long = [{**science("covid_qa", i), "input": "x" * 200} for i in range(100, 120)]
    write(tmp_path / "sciriff" / "train.jsonl", [*SCIENCE, *long])
    tally, rows = build(tmp_path / "out", sources, per_task=30, tulu="none", context_window=120)
    assert Counter(row["dataset"] for row in rows) == {"science.covid_qa": 30, "science.gene_ner": 12}
    assert max(len(message["content"]) for row in rows for message in row["messages"]) <= 100
    assert tally.reasons["longer than mix.context_window"] + tally.reasons.get("over mix.per_task", 0) == 20


@pytest.mark.parametrize(("window", "kept"), [(120, 1), (119, 0)])
def test_a_row_leaves_twenty_tokens_of_the_window_free(tmp_path: Path, window: int, kept: int) -> None:
    row = {**science("covid_qa", 0), "input": "x" * 90, "output": "y" * 10}
    path = write(tmp_path / "train.jsonl", [row, {**row, "input": "short", "_instance_id": "covid_qa:train:1"}])
    sources = SourcesConfig(sciriff=MixSourceConfig(path=str(path)))
    _, rows = build(tmp_path / "out", sources, tulu="none", context_window=window)
    assert len(rows) == 1 + kept


def test_the_same_text_enters_once(tmp_path: Path, sources: SourcesConfig) -> None:
    again = [{**row, "_instance_id": row["_instance_id"] + "b"} for row in SCIENCE[:8]]
    write(tmp_path / "sciriff" / "train.jsonl", [*SCIENCE, *again, *SCIENCE[:2]])
    tally, rows = build(tmp_path / "out", sources, per_task=None, tulu="none")
    assert tally.reasons == {"of a held-out task": 9, "the same text as another row": 10}
    assert len({dumps(row["messages"]) for row in rows}) == len(rows) == 42


def test_what_a_mix_does_not_use_is_not_read(tmp_path: Path, sources: SourcesConfig) -> None:
    absent = MixSourceConfig(path=str(tmp_path / "absent"))
    _, rows = build(tmp_path / "out", SourcesConfig(sciriff=absent, tulu=sources.tulu), per_task=0, tulu="all")
    assert len(rows) == 40
    _, rows = build(tmp_path / "out", SourcesConfig(sciriff=sources.sciriff, tulu=absent), tulu="none")
    assert len(rows) == 42


def test_a_finished_mix_is_taken_as_it_is(tmp_path: Path) -> None:
    finished = [general("science.bioasq_list_qa", 3), general("flan", 2), general("flan", 2), general("flan", 1)]
    path = write(tmp_path / "mix.jsonl", finished)
    _, rows = build(tmp_path / "out", SourcesConfig(), path=str(path), per_task=1, context_window=32)
    assert rows == finished
    _, rows = build(tmp_path / "out", SourcesConfig(published=SourceConfig(path=str(path))))
    assert rows == finished


def test_a_finished_mix_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "mix.jsonl", [general("flan", 1), {**general("flan", 2), "messages": []}])
    with pytest.raises(ValueError, match=r"mix\.jsonl:2: `messages` is not a list"):
        build(tmp_path / "out", SourcesConfig(), path=str(path))
    tally, rows = build(tmp_path / "out", SourcesConfig(), path=str(path), on_bad_row="drop")
    assert len(rows) == 1 and tally.reasons == {"`messages` is not a list of messages": 1}


def test_a_published_mix_stands_alone(tmp_path: Path, sources: SourcesConfig) -> None:
    sources.published = SourceConfig(path=str(write(tmp_path / "mix.jsonl", GENERAL)))
    with pytest.raises(ValueError, match=r"mix\.sources\.published is a finished mix"):
        build(tmp_path / "out", sources)


def test_missing_sources_are_refused(tmp_path: Path, sources: SourcesConfig) -> None:
    with pytest.raises(ValueError, match=r"no science rows: give mix\.sources\.sciriff\.path"):
        build(tmp_path / "out", SourcesConfig(tulu=sources.tulu))
    with pytest.raises(ValueError, match=r"no general rows for mix\.tulu=match"):
        build(tmp_path / "out", SourcesConfig(sciriff=sources.sciriff))


def test_an_empty_mix_is_refused(tmp_path: Path, sources: SourcesConfig) -> None:
    with pytest.raises(ValueError, match="the mix is empty: 45 rows were read"):
        build(tmp_path / "out", sources, per_task=0, tulu="match")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ValueError, match="the mix is empty: 0 rows were read"):
        build(tmp_path / "out", SourcesConfig(), path=str(tmp_path / "none.jsonl"))
