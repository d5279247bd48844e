import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mix_rows import fitting, general, names, read, science, write

from sciriff.config import MixConfig, MixSourceConfig, SourceConfig
from sciriff.config.keys import check_values
from sciriff.data.records import Conversation
from sciriff.mix.build import build_mix
from sciriff.mix.tally import MixTally
from sciriff.run.json_lines import dumps

TASKS = {"covid_qa": 30, "gene_ner": 12, "bioasq_list_qa": 9}  # the last is held out


SCIENCE = [science(task, i) for task, rows in TASKS.items() for i in range(rows)]
GENERAL = [general("flan", i) for i in range(40)] + [general("science.scierc_ner", i) for i in range(5)]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Any]:
    return {
        "sciriff": MixSourceConfig(path=str(write(tmp_path / "sciriff" / "train.jsonl", SCIENCE).parent)),
        "tulu": MixSourceConfig(path=str(write(tmp_path / "tulu.jsonl", GENERAL))),
    }


def build(folder: Path, sources: dict[str, Any], **settings: object) -> tuple[MixTally, list[dict]]:
    folder.mkdir(exist_ok=True)
    mix = MixConfig(name="test", sources=sources, **{"context_window": None, **settings})  # type: ignore[arg-type]
    tally, drawn = build_mix(mix, folder, fitting)
    assert drawn == {} and [path.name for path in folder.iterdir()] == ["train.jsonl"]  # no spool is left
    rows = read(folder / "train.jsonl")
    assert tally.kept == len(rows)
    return tally, rows


def test_a_mix_of_both_sources(tmp_path: Path, sources: dict[str, Any]) -> None:
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


def test_the_order_is_mixed(tmp_path: Path, sources: dict[str, Any]) -> None:
    _, rows = build(tmp_path / "out", sources, per_task=None, tulu="all")
    first = Counter(row["dataset"].startswith("science") for row in rows[: len(rows) // 2])
    assert min(first[True], first[False]) > 10


def test_the_bytes_do_not_depend_on_files_and_their_order(tmp_path: Path, sources: dict[str, Any]) -> None:
    build(tmp_path / "one", sources, per_task=7)
    write(tmp_path / "shards" / "train-0.jsonl", SCIENCE[:20:-1])
    write(tmp_path / "shards" / "train-1.jsonl", SCIENCE[20::-1])
    write(tmp_path / "tulu.jsonl", GENERAL[::-1])
    sources["sciriff"].path = str(tmp_path / "shards")
    build(tmp_path / "two", sources, per_task=7)
    assert (tmp_path / "one" / "train.jsonl").read_bytes() == (tmp_path / "two" / "train.jsonl").read_bytes()
    build(tmp_path / "three", sources, per_task=7, seed=1)
    assert (tmp_path / "one" / "train.jsonl").read_bytes() != (tmp_path / "three" / "train.jsonl").read_bytes()


def test_larger_mixes_contain_smaller_ones(tmp_path: Path, sources: dict[str, Any]) -> None:
    mixes = [names(build(tmp_path / "out", sources, per_task=cap)[1]) for cap in (1, 5, 20, None)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))
    mixes = [names(build(tmp_path / "out", sources, per_task=3, tulu=tulu)[1]) for tulu in ("none", 4, "match", "all")]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))


def test_first_takes_the_first_of_each_task(tmp_path: Path, sources: dict[str, Any]) -> None:
    _, rows = build(tmp_path / "out", sources, per_task=2, tulu="none", take="first")
    assert names(rows) == {f"science.{task}/{task}:train:{i}" for task in ("covid_qa", "gene_ner") for i in (0, 1)}


def test_heldout_tasks_enter_only_when_told_to(tmp_path: Path, sources: dict[str, Any]) -> None:
    tally, rows = build(tmp_path / "out", sources, include_heldout=True, tulu="none")
    assert Counter(row["dataset"] for row in rows)["science.bioasq_list_qa"] == 9
    assert tally.reasons == {}


def test_long_rows_make_room_for_others(tmp_path: Path, sources: dict[str, Any]) -> None:
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
    sources = {"sciriff": MixSourceConfig(path=str(path))}
    _, rows = build(tmp_path / "out", sources, tulu="none", context_window=window)
    assert len(rows) == 1 + kept


def turns(*lengths: int) -> list[dict]:
    """Messages of these lengths in characters, the user's and the assistant's in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": "x" * length} for i, length in enumerate(lengths)]


def test_a_long_conversation_may_keep_its_first_turns(tmp_path: Path) -> None:
    conversations = {
        "short": turns(10, 10),
        "long": turns(10, 20, 10, 61, 1, 1),
        "two turns fit": turns(10, 20, 30, 40, 1, 1),
        "first answer too long": turns(10, 91, 1, 1),
        "begins as short": turns(10, 10, 81, 1),
        "begins as long": turns(10, 20, 10, 62),
    }
    rows = [{"dataset": "flan", "id": name, "messages": messages} for name, messages in conversations.items()]
    sources = {"tulu": MixSourceConfig(path=str(write(tmp_path / "tulu.jsonl", rows)))}
    settings = {"per_task": 0, "tulu": "all", "context_window": 120}
    tally, kept = build(tmp_path / "out", sources, **settings)
    assert [row["id"] for row in kept] == ["short"] and tally.shortened == 0
    tally, kept = build(tmp_path / "out", sources, **settings, truncate="turns")
    messages = {row["id"]: row["messages"] for row in kept}
    first = messages.pop("long", None) or messages.pop("begins as long")  # whichever comes first in the seeded order
    assert first == turns(10, 20)
    assert messages == {"short": turns(10, 10), "two turns fit": turns(10, 20, 30, 40)}
    assert tally.shortened == 2 and tally.reasons == {"longer than mix.context_window": 3}


def test_rows_that_overlap_make_room_for_others(tmp_path: Path, sources: dict[str, Any]) -> None:
    def odd(conversations: Sequence[Conversation]) -> list[bool]:
        return [int(conversation.messages[0].content.split()[-1]) % 2 == 1 for conversation in conversations]

    mix = MixConfig(name="test", sources=sources, per_task=10, tulu=20, context_window=None, overlap="drop")
    tally, _ = build_mix(mix, tmp_path, fitting, odd)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert Counter(row["dataset"] for row in rows) == {"science.covid_qa": 10, "science.gene_ner": 6, "flan": 20}
    assert not any(int(row["messages"][0]["content"].split()[-1]) % 2 for row in rows)
    assert tally.reasons["with text of an evaluation prompt"] > 6


def test_rows_that_overlap_are_left_out_of_a_finished_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "mix.jsonl", [general("flan", i) for i in range(600)])
    mix = MixConfig(name="test", path=str(path), overlap="drop")
    tally, _ = build_mix(mix, tmp_path, fitting, lambda rows: [row.id.endswith("9") for row in rows])
    rows = [json.loads(line)["id"] for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert rows == [f"flan_{i}" for i in range(600) if i % 10 != 9]
    assert tally.reasons == {"with text of an evaluation prompt": 60}


def test_the_same_text_enters_once(tmp_path: Path, sources: dict[str, Any]) -> None:
    again = [{**row, "_instance_id": row["_instance_id"] + "b"} for row in SCIENCE[:8]]
    write(tmp_path / "sciriff" / "train.jsonl", [*SCIENCE, *again, *SCIENCE[:2]])
    tally, rows = build(tmp_path / "out", sources, per_task=None, tulu="none")
    assert tally.reasons == {"of a held-out task": 9, "the same text as another row": 10}
    assert len({dumps(row["messages"]) for row in rows}) == len(rows) == 42


def test_a_row_that_is_there_twice_makes_room_for_another(tmp_path: Path, sources: dict[str, Any]) -> None:
    again = [{**row, "_instance_id": row["_instance_id"] + "b"} for row in SCIENCE]
    write(tmp_path / "sciriff" / "train.jsonl", [row for pair in zip(SCIENCE, again, strict=True) for row in pair])
    write(tmp_path / "tulu.jsonl", [row for row in GENERAL for _ in range(2)])
    for take in ("first", "sample"):
        tally, rows = build(tmp_path / "out", sources, per_task=12, take=take)
        assert Counter(row["dataset"] for row in rows) == {"science.covid_qa": 12, "science.gene_ner": 12, "flan": 24}
        assert len({dumps(row["messages"]) for row in rows}) == 48
        assert tally.reasons["the same text as another row"] == 42 + 40


def test_too_few_general_rows_are_told(tmp_path: Path, sources: dict[str, Any]) -> None:
    for settings, missing in (({}, 2), ({"tulu": 50}, 10), ({"tulu": "all"}, 0), ({"tulu": "none"}, 0)):
        tally, _ = build(tmp_path / "out", sources, per_task=None, **settings)
        assert tally.general_missing == missing
    sources["tulu"].epochs = 0.5
    assert build(tmp_path / "out", sources, per_task=10)[0].general_missing == 0


def test_what_a_mix_does_not_use_is_not_read(tmp_path: Path, sources: dict[str, Any]) -> None:
    absent = MixSourceConfig(path=str(tmp_path / "absent"))
    _, rows = build(tmp_path / "out", {"sciriff": absent, "tulu": sources["tulu"]}, per_task=0, tulu="all")
    assert len(rows) == 40
    _, rows = build(tmp_path / "out", {"sciriff": sources["sciriff"], "tulu": absent}, tulu="none")
    assert len(rows) == 42


def test_a_finished_mix_is_taken_as_it_is(tmp_path: Path) -> None:
    finished = [general("science.bioasq_list_qa", 3), general("flan", 2), general("flan", 2), general("flan", 1)]
    path = write(tmp_path / "mix.jsonl", finished)
    tally, rows = build(tmp_path / "out", {}, path=str(path), per_task=1, context_window=32)
    assert rows == finished and tally.same_text == 1
    _, rows = build(tmp_path / "out", {"published": SourceConfig(path=str(path))})
    assert rows == finished


def test_a_finished_mix_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "mix.jsonl", [general("flan", 1), {**general("flan", 2), "messages": []}])
    with pytest.raises(ValueError, match=r"mix\.jsonl:2: `messages` is not a list"):
        build(tmp_path / "out", {}, path=str(path))
    tally, rows = build(tmp_path / "out", {}, path=str(path), on_bad_row="drop")
    assert len(rows) == 1 and tally.reasons == {"`messages` is not a list of messages": 1}


def test_a_published_mix_stands_alone(tmp_path: Path, sources: dict[str, Any]) -> None:
    sources["published"] = SourceConfig(path=str(write(tmp_path / "mix.jsonl", GENERAL)))
    with pytest.raises(ValueError, match=r"mix\.sources\.published is a finished mix"):
        build(tmp_path / "out", sources)


def test_missing_sources_are_refused(tmp_path: Path, sources: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no science rows: give mix\.sources\.sciriff\.path"):
        build(tmp_path / "out", {"tulu": sources["tulu"]})
    with pytest.raises(ValueError, match=r"no general rows for mix\.tulu=match"):
        build(tmp_path / "out", {"sciriff": sources["sciriff"]})


def test_an_empty_mix_is_refused(tmp_path: Path, sources: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the mix is empty: 45 rows were read"):
        build(tmp_path / "out", sources, per_task=0, tulu="match")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ValueError, match="the mix is empty: 0 rows were read"):
        build(tmp_path / "out", {}, path=str(tmp_path / "none.jsonl"))


def with_metadata(row: dict, family: str, *domains: str) -> dict:
    return {**row, "metadata": {"task_family": family, "domains": list(domains)}}


def filtered(tmp_path: Path, **settings: object) -> tuple[MixTally, dict[str, int]]:
    """Rows that pass a filter, from a question answering, a recognition and a held-out task."""
    rows = [with_metadata(science("covid_qa", i), "qa.abstractive", "biomedicine") for i in range(5)]
    rows += [with_metadata(science("gene_ner", i), "ie.named_entity_recognition", "biomedicine") for i in range(4)]
    both = ("biomedicine", "chemistry")
    rows += [with_metadata(science("gene_ner", i), "ie.named_entity_recognition", *both) for i in range(4, 7)]
    rows += [with_metadata(science("bioasq_list_qa", i), "qa.abstractive", "misc") for i in range(2)]
    path = write(tmp_path / "train.jsonl", rows)
    sources = {"sciriff": MixSourceConfig(path=str(path))}
    tally, rows = build(tmp_path / "out", sources, tulu="none", **settings)
    return tally, dict(Counter(row["dataset"].removeprefix("science.") for row in rows))


def test_filters_choose_by_task_family_and_domain(tmp_path: Path) -> None:
    tally, rows = filtered(tmp_path, tasks=["gene_ner"])
    assert rows == {"gene_ner": 7} and tally.reasons == {"not of mix.tasks": 7}
    tally, rows = filtered(tmp_path, families=["qa.abstractive"])
    assert rows == {"covid_qa": 5} and tally.reasons == {"not of mix.families": 7, "of a held-out task": 2}
    assert tally.dropped_by_dataset["science.gene_ner"] == {"not of mix.families": 7}
    assert filtered(tmp_path, domains=["chemistry", "misc"])[1] == {"gene_ner": 3}
    assert filtered(tmp_path, domains=["biomedicine"], families=["ie.named_entity_recognition"])[1] == {"gene_ner": 7}
    assert filtered(tmp_path, tasks=["bioasq_list_qa"], include_heldout=True)[1] == {"bioasq_list_qa": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["covid_qu"]}, r"mix\.tasks: covid_qu is known neither .*; did you mean 'covid_qa'\?"),
        ({"tasks": ["genia_nr"]}, r"mix\.tasks: genia_nr .*; did you mean 'genia_ner'\?"),
        ({"tasks": ["genia_ner", "gene_ner"]}, r"mix\.tasks: mix\.sources\.sciriff has no row of genia_ner"),
        ({"tasks": ["bioasq_list_qa"]}, r"bioasq_list_qa is a held-out task; mix\.include_heldout=true"),
        ({"families": ["qa.abstract"]}, r"mix\.families: qa\.abstract .*; did you mean 'qa\.abstractive'\?"),
        ({"domains": ["biomedecine"]}, r"mix\.domains: biomedecine .*; did you mean 'biomedicine'\?"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filtered(tmp_path, **settings)


@pytest.mark.parametrize("metadata", [None, {}, {"task_family": 3, "domains": "biomedicine"}, [], {"domains": []}])
@pytest.mark.parametrize(("key", "name"), [("families", "task_family"), ("domains", "domains")])
def test_a_filter_needs_the_metadata(tmp_path: Path, key: str, name: str, metadata: object) -> None:
    rows = [with_metadata(science("covid_qa", 0), "x", "y"), {**science("covid_qa", 1), "metadata": metadata}]
    sources = {"sciriff": MixSourceConfig(path=str(write(tmp_path / "train.jsonl", rows)))}
    for on_bad_row in ("error", "drop"):
        with pytest.raises(ValueError, match=rf"train\.jsonl:2: mix\.{key} asks for the row's `metadata\.{name}`"):
            build(tmp_path / "out", sources, tulu="none", on_bad_row=on_bad_row, **{key: ["x", "y"]})


def test_epochs_of_a_source(tmp_path: Path, sources: dict[str, Any]) -> None:
    _, plain = build(tmp_path / "out", sources, per_task=10)
    sources["tulu"].epochs, sources["sciriff"].epochs = 2, 1.5
    tally, rows = build(tmp_path / "out", sources, per_task=10)
    counts = Counter(f"{row['dataset']}/{row['id']}" for row in rows)
    assert counts.keys() == names(plain)
    assert Counter(row["dataset"] for row in rows) == {"science.covid_qa": 15, "science.gene_ner": 15, "flan": 40}
    assert tally.repeated == {"sciriff": 10, "tulu": 20}


def test_a_smaller_part_of_an_epoch_is_in_a_larger(tmp_path: Path, sources: dict[str, Any]) -> None:
    mixes = []
    for epochs in (0.2, 0.5, 0.9, 1.0):
        sources["sciriff"].epochs = epochs
        tally, rows = build(tmp_path / "out", sources, per_task=20, tulu="none")
        mixes.append(names(rows))
        left_out = tally.reasons.get("over mix.sources.sciriff.epochs", 0)
        assert len(rows) + left_out == 32 and tally.repeated == {}
    assert [len(rows) for rows in mixes] == [4 + 2, 10 + 6, 18 + 11, 20 + 12]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(mixes))


def test_weights_are_shares_under_match(tmp_path: Path, sources: dict[str, Any]) -> None:
    sources["tulu"].weight = 3
    _, rows = build(tmp_path / "out", sources, per_task=5)
    assert Counter(row["dataset"] for row in rows)["flan"] == 30
    sources["tulu"].weight, sources["sciriff"].weight = 1, 4
    _, fewer = build(tmp_path / "out", sources, per_task=5)
    assert Counter(row["dataset"] for row in fewer)["flan"] == 3 and names(fewer) < names(rows)


@pytest.mark.parametrize("tulu", ["all", 7])
def test_a_weight_beside_a_number_is_refused(sources: dict[str, Any], tulu: object) -> None:
    sources["tulu"].weight = 2
    with pytest.raises(
        ValueError, match=r"mix\.sources\.tulu\.weight=2 is a share under mix\.tulu=match, and mix\.tulu"
    ):
        MixConfig(name="test", sources=sources, tulu=tulu)


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("epochs", -1), ("weight", 0.0), ("epochs", float("nan"))])
def test_impossible_epochs_and_weights_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"mix\.sources\.tulu\.{key}=.* must be (above 0|a number that is finite)"):
        check_values({"mix": {"sources": {"tulu": {key: value}}}})


@pytest.mark.parametrize("key", ["tasks", "families", "domains", "validation_rows"])
def test_of_a_published_mix_nothing_is_chosen(key: str) -> None:
    published = {"published": SourceConfig(hub="someone/mix")}
    value = 5 if key == "validation_rows" else ["x"]
    with pytest.raises(ValueError, match=rf"mix\.{key}=.* cannot be had of mix\.sources\.published.*mix=scitulu"):
        MixConfig(name="test", sources=published, **{key: value})  # type: ignore[arg-type]
