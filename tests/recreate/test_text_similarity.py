import pytest

from sciriff.recreate.text_similarity import similarity


@pytest.mark.parametrize(
    ("one", "other", "percent"),
    [
        ("", "", 100),
        ("", "a", 0),
        ("tide", "tide", 100),
        ("tide", "edit", 25),
        ("tide", "tied", 75),
        ("abcde", "abXde", 80),
        ("abcdef", "fedcba", 17),
        ("é" * 161 + "x" * 39, "é" * 161 + "y" * 39, 80),  # 80.5, which rounds to the even number
    ],
)
def test_percent_of_shared_characters(one, other, percent):
    assert similarity(one, other) == similarity(other, one) == percent
