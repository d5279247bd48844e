from typing import Any

import pytest

from sciriff.recreate.formatters.craftchem_ner import format_record
from sciriff.run.user_error import UserError


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ([0, 0, 0, 0], []),
        ([1, 2, 1, 1], ["a b", "c", "a"]),
        ([1, 0, 0, 1], ["a", "a"]),
        ([2, 2, 1, 2], ["c a"]),
        ([1, 0, 2, 2], ["a"]),
    ],
)
def test_mentions_begin_with_b(tags: list[int], entities: list[str]) -> None:
    tokens = ["a", "b", "c", "a"]
    assert list(format_record({"tokens": tokens, "ner_tags": tags})) == [{"tokens": tokens, "entities": entities}]


@pytest.mark.parametrize(
    ("tokens", "tags", "words"),
    [
        (["a"], [0, 0], ["ner_tags", "1", "2"]),
        (["a"], ["B"], ["ner_tags[0]", "B"]),
        (["a"], [7], ["ner_tags[0]", "7"]),
        ([1], [0], ["tokens[0]"]),
        ("a", [0], ["tokens"]),
        (["a"], None, ["ner_tags"]),
    ],
)
def test_a_broken_record_names_the_field(tokens: Any, tags: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        list(format_record({"tokens": tokens, "ner_tags": tags}))
    assert all(word in str(error.value) for word in words)
