"""Sentences by a fixed rule, and choices by seed and name."""

import pytest

from sciriff.recreate.seeded_order import seeded_order, seeded_share
from sciriff.recreate.sentences import sentence_spans, sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No stop at the end", 1),
        ("It works. It is fast! Is it new? Yes.", 4),
        ("Lee et al. Found nothing, as Fig. 2 shows.", 1),
        ("We pay 3.5 percent (e.g. Monday). 12 others do not.", 2),
        ('He said "stop." Then it stopped.', 2),
        ("A heading\n\nA sentence below it.", 2),
        ("names with dots in them, www.example.org or v2.0, stay whole", 1),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_spans_cover_all_but_white_space() -> None:
    text = "  One here.  Two\nlines there.\n\nThree. "
    spans = sentence_spans(text)
    assert [text[start:end] for start, end in spans] == ["One here.", "Two\nlines there.", "Three."]
    between = [0, *(place for span in spans for place in span), len(text)]
    assert all(not text[between[i] : between[i + 1]].strip() for i in range(0, len(between), 2))


def test_an_order_depends_on_seed_and_name_alone() -> None:
    items = list("abcdefgh")
    orders = {tuple(seeded_order(items, seed, name)) for seed in (0, 1) for name in ("x", "y")}
    assert len(orders) == 4 and all(sorted(order) == items for order in orders)
    assert seeded_order(items, 0, "x") == seeded_order(items, 0, "x") == list("dacehbgf")


def test_shares_are_spread() -> None:
    shares = [seeded_share(0, "x", number) for number in range(1000)]
    assert all(0 <= share < 1 for share in shares) and 0.47 < sum(shares) / 1000 < 0.53
    assert len({int(share * 10) for share in shares}) == 10
