"""A stop string is found in the token in which it is complete, however its bytes are shared out over tokens."""

import random
from typing import Any

import pytest
from predict_runs import tiny_model

from sciriff.models.engines.stop_strings import StopStrings, Watched
from sciriff.models.loading import load_tokenizer

TEXT = "Answer: 42 naïve 日本語 words.\n\n\nQuestion: next</s> one 🙂🙃 and so on"
STOPS = [
    ("\n\n",),
    (".\n",),
    ("uest",),
    ("Question:",),
    ("naïve",),
    ("ï",),
    ("本",),
    ("語 w",),
    ("🙃",),
    (" ",),
    ("</s>",),
    ("s> o",),
    ("absent", ": ", "42"),
    ("absent",),
    ("",),
    (),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny_model())


@pytest.fixture(scope="module")
def ids(tokenizer: Any) -> list[int]:
    return tokenizer(TEXT, add_special_tokens=False)["input_ids"]


def first_end(tokenizer: Any, ids: list[int], stops: tuple[str, ...]) -> int | None:
    """Length of the shortest beginning whose whole text has a stop string."""
    texts = (tokenizer.decode(ids[:count], skip_special_tokens=False) for count in range(len(ids) + 1))
    return next((count for count, text in enumerate(texts) if any(stop in text for stop in stops if stop)), None)


@pytest.mark.parametrize("stops", STOPS, ids=repr)
def test_a_stop_ends_in_the_token_that_completes_it_however_often_one_looks(
    tokenizer: Any, ids: list[int], stops: tuple[str, ...]
) -> None:
    expected = first_end(tokenizer, ids, stops)
    assert (expected is None) == (stops in [("absent",), ("",), ()])
    found = StopStrings(tokenizer, stops)
    for every in (1, 2, 7, len(ids)):
        known, end = 0, None
        while end is None and known < len(ids):
            end = found.find(ids[: known + every], known)
            known += every
        assert end == expected
    assert [count for count in range(1, len(ids) + 1) if found.end(ids[:count])][:1] == ([expected] if expected else [])


def test_any_tokens_with_any_stop(tokenizer: Any) -> None:
    draw = random.Random(2)
    for _ in range(200):
        ids = [draw.randrange(len(tokenizer)) for _ in range(60)]
        text = tokenizer.decode(ids)
        at = draw.randrange(len(text) - 6)
        stops = (text[at : at + draw.randrange(1, 6)],)
        if "\N{REPLACEMENT CHARACTER}" not in stops[0]:
            assert StopStrings(tokenizer, stops).find(ids) == first_end(tokenizer, ids, stops)


def test_a_growing_answer_is_looked_at_now_and_then_and_when_it_ends(tokenizer: Any, ids: list[int]) -> None:
    stops = StopStrings(tokenizer, ["Question"])
    end = first_end(tokenizer, ids, ("Question",))
    watched = Watched(stops)
    seen = [watched.stop(ids[:count], ended=False) for count in range(1, len(ids) + 1)]
    assert next(one for one in seen if one) == end
    early = Watched(stops)
    assert early.stop(ids[:2], ended=True) is None
