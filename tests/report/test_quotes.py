"""Quotes are found in a prompt however they are set, and what is not there is told from what was cut."""

import pytest

from sciriff.config import SAMPLE
from sciriff.report.error_kinds import _quoted, _value
from sciriff.report.quotes import Found, search
from sciriff.run.json_lines import read_json_objects
from sciriff.tasks import HELD_OUT
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.normalise import flat_elements

PROMPT = """Cite the sentences.

Abstract: “Aspirin-like” drugs   reduce
pain (p < 0.05).  BRCA1-mutated cells, however, did not grow; the eﬀect was 2.5-fold.

Claim: Aspirin helps."""


@pytest.mark.parametrize(
    "quote",
    [
        "“Aspirin-like” drugs   reduce\npain (p < 0.05).",
        '"aspirin like" DRUGS reduce pain',
        "Aspirin‑like drugs",
        "brca1",
        "mutated cell",
        "the effect was 2.5-fold",
        "Drugs reduce ... did not grow",
        "Drugs [...] did not grow",
        "…pain (p<0.05)…",
    ],
)
def test_what_is_there(quote: str) -> None:
    assert search(quote, PROMPT, False) is Found.THERE
    assert search(quote, PROMPT, True) is Found.THERE


@pytest.mark.parametrize(
    "quote", ["Aspirin cures pain", "BRCA2", "RCA1", "pain reduce drugs", "Drugs reduce ... never grew", "2.50-fold"]
)
def test_what_is_not_there(quote: str) -> None:
    assert search(quote, PROMPT, False) is Found.UNSUPPORTED
    assert search(quote, PROMPT, True) is Found.UNKNOWN, "it may have been in what was cut"
    assert search(quote, "", False) is Found.UNKNOWN, "the prompt was not saved"


def test_a_quote_without_words_is_none() -> None:
    for quote in ("", "...", " – ", "\n"):
        assert search(quote, PROMPT, False) is None


def test_every_reference_of_the_bundled_rows_is_found() -> None:
    tasks, quotes = {task.name: task for task in HELD_OUT}, 0
    for _, row in read_json_objects(SAMPLE / "sciriff" / "validation.jsonl"):
        task = tasks[row["_instance_id"].partition(":")[0]]
        value = _value(task, row["output"])
        named = list(_quoted(task, value))
        if task.metric is entity_f1:
            named = [text for texts in value.values() for text in flat_elements(texts)]
        quotes += len(named)
        assert not [text for text in named if search(text, row["input"], False) is not Found.THERE], row["_instance_id"]
    assert quotes > 200
