"""Rows that are nearly the same as another: which are found, counted, and left out."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from mix_rows import fitting, read, write

from sciriff.config import Config, MixConfig, MixSourceConfig, to_yaml
from sciriff.data.records import Conversation
from sciriff.mix import near_duplicates
from sciriff.mix.__main__ import main
from sciriff.mix.build import build_mix
from sciriff.mix.near_duplicates import _of_bytes, near_rows
from sciriff.run.json_lines import Message
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

INSTRUCTION = "Name each gene that the following abstract mentions as a list in JSON without any other text at all"


def words(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("abcdefgnost", k=chance.randint(2, 7))) for _ in range(count)]


def edited(text: list[str], edits: int) -> list[str]:
    """The text with other words at `edits` places, evenly apart."""
    return ["other" if i % (len(text) // edits) == 3 else word for i, word in enumerate(text)]


def found(texts: Iterable[str], dataset: str = "d") -> dict[int, int]:
    rows = [Conversation(dataset, str(i), (Message("user", text),)) for i, text in enumerate(texts)]
    return {
        row: other
        for row, (other, _) in near_rows([dataset] * len(rows), lambda ns: (rows[n] for n in ns)).like.items()
    }


def test_rows_with_few_words_changed_are_found_and_others_not() -> None:
    texts = [words(200, seed) for seed in range(40)]
    near = [" ".join(edited(texts[i], 3)) for i in (5, 7)] + [" ".join(texts[7]).upper().replace(" ", " ,\n")]
    far = [" ".join(edited(texts[9], 40)), " ".join(texts[1][:100] + texts[2][:100])]
    assert found([*map(" ".join, texts), *near, *far]) == {40: 5, 41: 7, 42: 7}


def test_each_row_that_is_left_out_is_like_one_that_stays() -> None:
    """A chain, each row near the one before, is not thrown away as a whole."""
    chain = [words(150, 1)]
    for step in range(12):
        last = list(chain[-1])
        for place in range(3):
            last[(step * 11 + place * 50) % 150] = f"new{step}"
        chain.append(last)
    like = found(map(" ".join, chain))
    stays = set(range(13)) - set(like)
    assert 2 <= len(stays) < 13 and set(like.values()) <= stays


def test_an_instruction_that_many_rows_share_does_not_count() -> None:
    assert found([f"{INSTRUCTION} {' '.join(words(25, seed))}" for seed in range(60)]) == {}
    assert found([INSTRUCTION] * 30 + ["short", "short", ""]) == {}, "too little of their own to tell"
    assert found([]) == {}


def test_words_of_any_length_have_numbers_of_their_own() -> None:
    spelled = ["a", "ab", "ü", "b" * 8, "b" * 9, "漢" * 8, "漢" * 9, "漢" * 9 + "字", "x" * 24, "x" * 25]
    numbers = _of_bytes(pa.array(spelled, pa.large_string()))
    assert len(set(numbers.tolist())) == len(spelled)
    shifted = _of_bytes(pa.array(["more", *spelled[::-1]], pa.large_string()))
    assert shifted[1:].tolist() == numbers[::-1].tolist()
    assert numbers[0] == 1 * 0x9E3779B97F4A7C15**3 % 2**64 + 97 * 0x9E3779B97F4A7C15**2 % 2**64, "on any machine"


def source(folder: Path, name: str, texts: list[list[str]]) -> MixSourceConfig:
    def row(i: int, text: list[str]) -> dict:
        turns = [{"role": "user", "content": " ".join(text)}, {"role": "assistant", "content": "yes"}]
        return {"dataset": name, "id": f"{name}{i}", "messages": turns}

    return MixSourceConfig(path=str(write(folder / f"{name}.jsonl", [row(i, text) for i, text in enumerate(texts)])))


def test_they_are_left_out_across_sources_and_make_room(tmp_path: Path) -> None:
    texts = [words(80, seed) for seed in range(20)]
    sources = {"mine": source(tmp_path, "mine", texts[:6]), "tulu": source(tmp_path, "tulu", texts[6:])}
    copies = [edited(text, 1) for text in texts[:6]]
    sources["tulu"].path = source(tmp_path, "flan", copies + texts[6:]).path
    built = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        mix = MixConfig(name="x", sources=sources, tulu=12, context_window=None, near_duplicates="drop")
        tally, _ = build_mix(mix, tmp_path / name, fitting)
        built[name] = (tmp_path / name / "train.jsonl").read_bytes()
    rows = read(tmp_path / "one" / "train.jsonl")
    assert built["one"] == built["two"] and len(rows) == 18
    assert {row["id"] for row in rows if row["dataset"] == "mine"} == {f"mine{i}" for i in range(6)}
    assert tally.reasons["nearly the same text as another row"] == 6
    assert tally.near_duplicates is not None and tally.near_duplicates["summary"].startswith(
        "6 of 26 rows are nearly the same as another and are left out, such as flan/flan"
    )


@pytest.mark.slow
def test_they_are_counted_in_the_card_and_without_the_package_it_says_so(
    tmp_path: Path, composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [words(60, seed) for seed in range(12)]
    path = source(tmp_path, "mine", [*texts, edited(texts[4], 1), texts[5]]).path

    def card_of(name: str, *overrides: str) -> dict:
        run = RunDir(tmp_path / name)
        run.root.mkdir()
        places = (f"run_dir={run.root}", f"cache_dir={tmp_path / 'cache'}", f"+mix.sources.mine.path={path}")
        config = composed("model=tiny", "mix=own", "eval=sample", "mix.overlap=none", *places, *overrides)
        run.config.write_text(to_yaml(config))
        main(config, run)
        return json.loads(run.mix_card.read_text())

    near = card_of("report")["near_duplicates"]
    assert (near["checked"], near["found"]) == (13, 1), "the row with exactly the same text does not enter"
    assert "1 of 13 rows are nearly the same as another, such as mine/" in capsys.readouterr().out
    assert "not counted" in card_of("none", "mix.near_duplicates=none")["near_duplicates"]["summary"]
    assert card_of("drop", "mix.near_duplicates=drop")["rows"] == 12

    monkeypatch.setattr(near_duplicates, "PACKAGE", "no-such-package")
    assert "pip install 'sciriff[mix]'" in card_of("without")["near_duplicates"]["summary"]
    for setting in ("report", "drop"):
        with pytest.raises(UserError, match=rf"mix\.near_duplicates={setting}: .*no-such-package is missing"):
            card_of(f"asked-{setting}", f"mix.near_duplicates={setting}", "mix.seed=3")
