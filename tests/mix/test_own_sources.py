"""Sources of any names: which rows enter by their number, by shares of rows and of tokens, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from mix_rows import fitting, general, names, read, science, write

from sciriff.config import MixConfig, MixSourceConfig, from_plain, to_yaml
from sciriff.config.plain_yaml import plain_values
from sciriff.config.trust import TRUST
from sciriff.data.records import Conversation
from sciriff.data.token_file import NAME
from sciriff.driver.run_name import run_name
from sciriff.mix import shares
from sciriff.mix.build import build_mix
from sciriff.mix.tally import MixTally
from sciriff.mix.used_sources import used_sources
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def lengths(conversations: Iterable[Conversation]) -> list[int]:
    """As Tokeniser.lengths, with characters for tokens."""
    return [sum(len(message.content) for message in conversation.messages) for conversation in conversations]


def build(
    folder: Path, sources: dict[str, Any], name: str = "out", **settings: Any
) -> tuple[MixTally, list[dict], list[dict]]:
    """(counts, rows, validation rows)"""
    out = folder / name
    out.mkdir(parents=True)
    settings = {"context_window": None, "per_task": None, **settings}
    tally, _ = build_mix(MixConfig(name="test", sources=sources, **settings), out, fitting, lengths=lengths)
    rows = read(out / "train.jsonl")
    assert tally.kept == len(rows) == len(tally.origins)
    validation = out / "validation.jsonl"
    return tally, rows, read(validation) if validation.exists() else []


def source(folder: Path, name: str, count: int, words: int = 1, **settings: Any) -> MixSourceConfig:
    """A general source of this many rows, of about `words` words each."""
    made = [general(name, i) for i in range(count)]
    for i, row in enumerate(made):
        row["messages"][1]["content"] += " word" * (words + i % 7)
    return MixSourceConfig(path=str(write(folder / f"{name}.jsonl", made)), **settings)


def origins(tally: MixTally) -> Counter[str]:
    return Counter(tally.origins)


def test_a_source_of_ones_own_enters_whole_beside_the_others(tmp_path: Path) -> None:
    sciriff = write(tmp_path / "sciriff.jsonl", [science("covid_qa", i) for i in range(12)])
    sources = {
        "mine": source(tmp_path, "mine", 9),
        "sciriff": MixSourceConfig(path=str(sciriff)),
        "tulu": source(tmp_path, "flan", 50),
    }
    tally, rows, _ = build(tmp_path, sources, per_task=5)
    assert origins(tally) == {"mine": 9, "sciriff": 5, "tulu": 5}
    assert Counter(row["dataset"] for row in rows) == {"mine": 9, "science.covid_qa": 5, "flan": 5}
    assert {name: part.rule for name, part in tally.asked.items()} == {
        "mine": "all rows",
        "sciriff": "at most 5 rows of each task",
        "tulu": "as many as science rows",
    }


def test_a_general_source_may_have_a_name_that_begins_with_science(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why {i}?", "completion": f"So {i}."} for i in range(3)]
    _, rows, _ = build(tmp_path, {"science_chat": MixSourceConfig(path=str(write(tmp_path / "rows.jsonl", rows)))})
    assert sorted(names(rows)) == [f"science_chat/rows.jsonl:{i}" for i in (1, 2, 3)]


def test_science_rows_of_ones_own_are_capped_by_task_and_matched(tmp_path: Path) -> None:
    rows = [science("covid_qa", i) for i in range(8)] + [science("gene_ner", i) for i in range(3)]
    sources = {
        "lab": MixSourceConfig(path=str(write(tmp_path / "lab.jsonl", rows)), kind="science"),
        "notes": source(tmp_path, "notes", 9, kind="science"),
        "tulu": source(tmp_path, "flan", 50),
    }
    tally, rows, _ = build(tmp_path, sources, per_task=4)
    counts = Counter(row["dataset"] for row in rows)
    assert counts == {"science.covid_qa": 4, "science.gene_ner": 3, "science.notes": 4, "flan": 11}
    assert tally.reasons["over mix.per_task"] == 9
    sources["notes"].rows = 7  # in place of the cap
    tally, rows, _ = build(tmp_path, sources, "more", per_task=4)
    assert origins(tally) == {"lab": 7, "notes": 7, "tulu": 14}
    sources["lab"].rows = 5  # tasks in turn
    _, rows, _ = build(tmp_path, sources, "turns", per_task=4)
    counts = Counter(row["dataset"] for row in rows)
    assert (counts["science.covid_qa"], counts["science.gene_ner"]) in ((2, 3), (3, 2))


def test_shares_of_tokens_are_met_within_a_percent(tmp_path: Path) -> None:
    sources = {
        "a": source(tmp_path, "a", 300, 3, weight=3.0),
        "b": source(tmp_path, "b", 400, 30),
        "c": source(tmp_path, "c", 90, 10, kind="science", weight=2.0),
    }
    tally, rows, _ = build(tmp_path, sources, tokens=18_000.0)
    found: Counter[str] = Counter()
    for origin, row in zip(tally.origins, rows, strict=True):
        found[origin] += sum(len(message["content"]) for message in row["messages"])
    for name, wanted in (("a", 9000), ("b", 3000), ("c", 6000)):
        assert tally.asked[name].tokens == wanted and abs(found[name] - wanted) < 0.01 * wanted
    larger = build(tmp_path, sources, "larger", tokens=24_000.0)[1]
    assert len(names(rows) - names(larger)) <= 6, "but for the rows that fill the rest, a larger share has the smaller"


def test_a_source_with_too_few_tokens_says_so_and_epochs_repeat_it(tmp_path: Path) -> None:
    sources = {"a": source(tmp_path, "a", 40, 3), "b": source(tmp_path, "b", 400, 3)}
    tally, _, _ = build(tmp_path, sources, tokens=8000.0)
    [line] = tally.asked["a"].short
    assert "a has 1," in line and "of the 4,000 tokens asked for" in line and "mix.sources.a.epochs=2." in line
    sources["a"].epochs = float(line.partition("epochs=")[2].partition(" ")[0])
    tally, rows, _ = build(tmp_path, sources, "again", tokens=8000.0)
    assert not tally.asked["a"].short and tally.repeated["a"] == origins(tally)["a"] - 40
    texts = sum(
        len(m["content"]) for row, of in zip(rows, tally.origins, strict=True) for m in row["messages"] if of == "a"
    )
    assert abs(texts - 4000) < 40


def test_shares_of_rows(tmp_path: Path) -> None:
    sources = {"a": source(tmp_path, "a", 30, weight=1.0), "b": source(tmp_path, "b", 100, weight=2.0)}
    assert origins(build(tmp_path, sources)[0]) == {"a": 30, "b": 60}, "the largest that the scarcest allows"
    tally, _, _ = build(tmp_path, sources, "total", rows=20)
    assert origins(tally) == {"a": 7, "b": 13} and {name: part.rows for name, part in tally.asked.items()} == {
        "a": 7,
        "b": 13,
    }
    sources["c"] = source(tmp_path, "c", 50, rows=8)
    assert origins(build(tmp_path, sources, "fixed", rows=20)[0]) == {"a": 4, "b": 8, "c": 8}
    tally, _, _ = build(tmp_path, sources, "few", rows=200)
    assert origins(tally) == {"a": 30, "b": 100, "c": 8}
    assert "mix.sources.a.epochs=2.14 repeats" in tally.asked["a"].short[0]
    sources["a"].epochs = 2
    assert origins(build(tmp_path, sources, "epochs")[0]) == {"a": 50, "b": 100, "c": 8}


def test_the_order_in_which_sources_are_named_decides_nothing(tmp_path: Path) -> None:
    sources = {name: source(tmp_path, name, 20) for name in ("b", "a")}
    assert build(tmp_path, sources)[1] == build(tmp_path, dict(sorted(sources.items())), "sorted")[1]


def test_the_same_text_enters_once_and_stays_where_it_is_ones_own(tmp_path: Path) -> None:
    rows = [general("mine", i) for i in range(5)]
    sources = {
        "mine": MixSourceConfig(path=str(write(tmp_path / "mine.jsonl", rows))),
        "tulu": MixSourceConfig(path=str(write(tmp_path / "tulu.jsonl", [general("mine", i) for i in range(30)]))),
    }
    tally, _, _ = build(tmp_path, sources, tulu=20)
    assert origins(tally) == {"mine": 5, "tulu": 20}
    sources["twice"] = sources["mine"]
    with pytest.raises(UserError, match=r"twice gives no row: 5 were read.*5 the same text.*another source"):
        build(tmp_path, sources, "twice", tulu=20)


def test_validation_rows_come_from_all_sources_of_a_half(tmp_path: Path) -> None:
    sources = {
        "a": source(tmp_path, "a", 30, rows=10),
        "b": source(tmp_path, "b", 30, rows=10),
        "lab": source(tmp_path, "lab", 30, kind="science", rows=10),
    }
    _, rows, validation = build(tmp_path, sources, validation_rows=6)
    assert Counter(row["dataset"] for row in validation) == {"science.lab": 6, "a": 3, "b": 3}
    assert not names(rows) & names(validation)


REFUSED = [
    ({"tokens": 3.0}, {}, r"mix\.tokens=3 gives mix\.sources\.mine 3 tokens, fewer than its shortest row"),
    ({"tokens": 100.0}, {"rows": 10}, r"mix\.tokens=100 leaves 0 tokens for no source: .*mine 10"),
    ({"rows": 5}, {"rows": 10}, r"mix\.rows=5 leaves nothing to share"),
    ({"tokens": 100.0, "rows": 5}, {}, "two totals"),
    ({"tokens": 10.5}, {}, "whole number"),
    ({"per_task": 0}, {"kind": "science"}, r"mine gives no row: .*20 over mix\.per_task; mix\.per_task=null lets"),
    ({"tulu": 5}, {}, r"no general rows for mix\.tulu=5.*mix\.sources\.tulu\.path"),
    ({}, {"rows": 5, "weight": 2.0}, r"mine\.rows=5 is a number and mix\.sources\.mine\.weight=2.0 a share"),
]


@pytest.mark.parametrize(("settings", "of_source", "message"), REFUSED)
def test_what_cannot_be_is_refused(tmp_path: Path, settings: dict, of_source: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(tmp_path, {"mine": source(tmp_path, "mine", 20, **of_source)}, **settings)


def test_rows_of_the_wrong_kind_and_a_match_without_science_are_told(tmp_path: Path) -> None:
    lab = write(tmp_path / "lab.jsonl", [science("covid_qa", i) for i in range(8)])
    with pytest.raises(UserError, match=r"lab gives no row: 8 were read.*mix\.sources\.lab\.kind=science lets them in"):
        build(tmp_path, {"lab": MixSourceConfig(path=str(lab))})
    sources = {"mine": source(tmp_path, "mine", 5), "tulu": source(tmp_path, "flan", 5)}
    with pytest.raises(UserError, match=r"mix\.tulu=match .* no source is of kind=science"):
        build(tmp_path, sources, "match")
    published = {**sources, "published": sources["mine"]}
    with pytest.raises(UserError, match=r"leave out mix\.sources\.tulu and mix\.sources\.mine, or mix\.sources\.publi"):
        used_sources(MixConfig(name="x", sources=published))
    with pytest.raises(UserError, match=r"leave out mix\.sources\.mine, or mix\.path"):
        used_sources(MixConfig(name="x", sources={"mine": sources["mine"]}, path="mix.jsonl"))


def test_the_card_says_how_often_rows_come(tmp_path: Path) -> None:
    tally, _, _ = build(tmp_path, {"mine": source(tmp_path, "mine", 20, epochs=2.5)})
    assert tally.asked["mine"].rule == "all rows, epochs=2.5" and origins(tally) == {"mine": 50}


def test_a_number_that_a_source_lacks_is_told(tmp_path: Path) -> None:
    tally, _, _ = build(tmp_path, {"mine": source(tmp_path, "mine", 20, rows=50)})
    assert origins(tally) == {"mine": 20}
    assert tally.asked["mine"].short == [
        "mine has 20 of the 50 rows asked for: ++mix.sources.mine.epochs=2.5 repeats its rows"
    ]


def test_shares_fill_what_is_left_with_the_row_that_fits_best() -> None:
    assert shares.within([5, 5, 5, 9, 3, 1], 13) == [0, 1, 4]
    assert shares.within([5, 5], 20) == [0, 1] and shares.within([], 20) == [] and shares.within([50], 20) == []
    assert shares.within([30], 20) == [0], "half as much again is nearer than nothing"
    lengths_of = [10, 10, 10, 12, 12, 12, 12]
    assert sum(lengths_of[place] for place in shares.within(lengths_of, 36)) == 36, "rows are exchanged"
    assert shares.row_shares({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}
    for epochs, counts in ((2.25, [10, 10, 3]), (0.5, [5]), (0.01, [])):
        assert list(shares.passes(10, epochs)) == counts and shares.capacity(10, epochs) == sum(counts)
    assert list(shares.passes(0, 1e12)) == [] and next(shares.passes(3, 1e12)) == 3


MINE = ("experiment=demo", "+mix.sources.mine.path=x.csv")


def test_the_config_of_a_source(composed) -> None:
    config = composed(
        *MINE, "+mix.sources.mine.columns.prompt='{{ q }}'", "+mix.sources.mine.filter.lang=[en,de]", "mix.tokens=2e8"
    )
    mine = config.mix.sources["mine"]
    assert (mine.columns, mine.filter) == ({"prompt": "{{ q }}"}, {"lang": ["en", "de"]})
    assert (config.mix.tokens, config.mix.kind_of("mine")) == (200_000_000, "general")
    assert from_plain(plain_values(to_yaml(config).encode())) == config
    plain = composed("experiment=demo")
    text = to_yaml(plain)
    assert list(plain.mix.sources) == ["sciriff", "tulu", "published"]
    assert not any(key in text for key in ("kind:", "columns:", "near_duplicates:", "rows:\n")), "as in earlier runs"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+mix.sources.tulou.path=x"], r"tulou is not known; did you mean 'mix\.sources\.tulu'"),
        (["+mix.sources.mine.pth=x"], r"mine\.pth is not a key.*did you mean 'path'"),
        (["+mix.sources.a.b.path=x"], r"mix\.sources\.a\.b is not a key"),
        (["+mix.sources.mine=3"], r"mix\.sources\.mine must have keys of its own"),
        (["+mix.sources.general.path=x"], "cannot be called general"),
        ([*MINE, "+mix.sources.mine.weight=0"], r"mine\.weight=0.0 must be above 0"),
        ([*MINE, "+mix.sources.mine.rows=-1"], r"mine\.rows=-1 must be at least 1"),
        ([*MINE, "+mix.sources.mine.kind=sciense"], r"kind=sciense is not known; did you mean 'science'"),
        ([*MINE, "+mix.sources.mine.weight=heavy"], r"mix\.sources\.mine\.weight: Value 'heavy'"),
        (["+mix.sources.mine.weight=2"], r"mine has no rows: give \+mix\.sources\.mine\.path=FILE"),
        (["mix.sources.tulu.kind=science"], r"tulu is general"),
        (["mix.tokens=-5"], r"mix\.tokens=-5\.0 must be above 0"),
        (["mix.path=x.jsonl", "mix.tokens=2e6"], r"mix\.tokens=2000000 cannot be had of a finished mix"),
        (["mix=published", "mix.near_duplicates=drop"], r"mix\.near_duplicates=drop cannot be had"),
    ],
)
def test_what_no_source_can_be_is_refused(composed, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(*dict.fromkeys(["experiment=demo", *overrides]))


@pytest.mark.parametrize("name", ["a.b\u202e", "../x", "1a", "a" * 61, 7])
def test_a_name_from_a_file_is_plain(composed, name: Any) -> None:
    values = plain_values(to_yaml(composed("experiment=demo")).encode())
    values["mix"]["sources"][name] = {"path": "x"}
    with pytest.raises(UserError, match=r"is no name of a source: at most 60 letters") as error:
        from_plain(values)
    assert "\u202e" not in str(error.value) and len(str(error.value)) < 200


def test_a_run_is_named_after_the_source_whose_key_was_typed() -> None:
    choices = {"model": "m", "mix": "x"}
    assert run_name(["+mix.sources.mine.weight=2"], choices) == "m-x-mine-weight-2"
    assert run_name(["mix.sources.tulu.weight=2"], choices) == "m-x-weight-2", "as it always was"


@pytest.mark.slow
def test_the_demo_of_three_sources_has_the_same_bytes_on_any_hash_seed_and_after_a_kill(composed, tmp_path: Path):
    """A table, ShareGPT chats and a parquet file, by shares of tokens that are met within 1 %."""

    def process(name: str, seed: str) -> tuple[RunDir, subprocess.Popen[str]]:
        run = RunDir(tmp_path / name)
        run.root.mkdir()
        places = (f"run_dir={run.root}", f"cache_dir={tmp_path / f'cache-{name}'}", "name=x")
        run.config.write_text(to_yaml(composed("experiment=own_sources", "mix.near_duplicates=drop", *places)))
        command = [sys.executable, "-m", "sciriff.mix", str(run.root), TRUST]
        return run, subprocess.Popen(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )

    found = []
    for name, seed in (("one", "1"), ("two", "2")):
        run, child = process(name, seed)
        with child:
            assert child.stdout is not None
            printed = (line for line in child.stdout if name == "two" and "rows chosen" in line)
            if next(printed, None) is not None:
                child.kill()
        if name == "two":
            assert child.returncode == -signal.SIGKILL
            child = subprocess.Popen(child.args, env={**os.environ, "PYTHONHASHSEED": "3"})
        assert child.wait() == 0
        found.append([path.read_bytes() for path in (run.mix, run.mix_card, run.mix_card_page, run.tokens / NAME)])
    assert found[0] == found[1]
    sources = json.loads(found[0][1])["sources"]
    assert {name: part["asked_tokens"] for name, part in sources.items()} == {
        "notes": 6000,
        "chats": 3000,
        "quiz": 3000,
    }
    for part in sources.values():
        assert abs(part["tokens"] - part["asked_tokens"]) < 0.01 * part["asked_tokens"]
