"""Stripping the ends of an answer."""

import pytest

from sciriff.tasks.metrics.answer_end import stripped_as_reference, without_end_marker


@pytest.mark.parametrize(
    ("answer", "ours", "reference"),
    [
        ('["a"]</s>', '["a"]', '["a"]'),
        ("results</s>", "results", "result"),
        ("sensors", "sensors", "ensor"),
        ("x</s></s>", "x</s>", "x"),
        ("x</s>\n", "x</s>\n", "x</s>\n"),
        ("<s> x", "<s> x", " x"),
        ("x<|im_end|>", "x", "x<|im_end|"),
        ("x<|eot_id|>", "x", "x<|eot_id|"),
        ("</s>", "", ""),
        ("", "", ""),
    ],
)
def test_ends(answer: str, ours: str, reference: str):
    assert without_end_marker(answer) == ours
    assert stripped_as_reference(answer) == reference
