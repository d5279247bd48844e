"""Thoughts in a report: folded beside the answer, never part of it, counted by their own name, and harmless."""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

from report_runs import write_predictions

from sciriff import score
from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.data.saved_answers import our_answer
from sciriff.report.answers import read_answers
from sciriff.report.browser import LONGEST_THOUGHT, _flags, browser
from sciriff.report.cards import _endings, _lengths
from sciriff.report.error_kinds import error_kinds
from sciriff.report.side_by_side import ShownRun
from sciriff.results.scores import read_scores
from sciriff.results.summary_table import summary_lines
from sciriff.results.thought_counts import thought_counts, thoughts_phrase
from sciriff.run.run_dir import RunDir

MakeRun = Callable[..., tuple[Config, RunDir]]
REFERENCE = '{"Gene": ["p53"]}'
HARM = "<script>alert(1)</script>\u202e\x00 " + "x" * 9000
ROWS = [
    Prediction("biored_ner", "0", "p", REFERENCE, REFERENCE, "stop", 5, 30, thought=HARM, thought_tokens=20),
    Prediction("biored_ner", "1", "p", "", REFERENCE, "unfinished_thought", 5, 40, thought="so", thought_tokens=40),
    Prediction("biored_ner", "2", "p", "", REFERENCE, "no_content", 5, 9, thought="so", thought_tokens=9),
    Prediction("biored_ner", "3", "p", REFERENCE, REFERENCE, "stop", 5, 10),
]


def unpacked(parts: list[tuple[str, Any]], name: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(dict(parts)[f"data-{name}"])))


def test_a_thought_is_shown_beside_the_answer_and_counted(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5})
    write_predictions(run, ROWS)
    (found,) = read_answers(config, run).values()
    shown = browser([ShownRun("r", {"biored_ner": found})])
    assert shown is not None
    answers = [item["answers"][0] for item in unpacked(shown.parts, "answers-0-0")]
    assert [one["answer"] for one in answers] == [REFERENCE, "", "", REFERENCE]
    assert "thought" not in answers[3]
    assert answers[1]["thought"] == "so"
    first = answers[0]["thought"]
    assert first.startswith("<script>") and len(first) < LONGEST_THOUGHT + 100
    assert not {"\u202e", "\x00"} & set(first)
    assert "thought of 20 tokens, answer of 10 tokens" in answers[0]["ending"]
    assert "it did not come, for the thought before it ran into its limit" in answers[1]["ending"]
    assert ["h" in _flags(row) for row in found.rows] == [False, True, False, False]
    assert [share.name for share in _endings(found)[2:]] == ["thought did not end", "empty"]
    assert [kind.name for kind in error_kinds(found)][:2] == ["its thought did not end", "empty"]
    assert len(_lengths(found)) == 3


def test_the_score_stage_counts_them(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5})
    write_predictions(run, ROWS)
    score.main(config, run)
    scores = read_scores(run.scores)
    assert scores["tasks"]["biored_ner"]["thoughts"] == {"answers": 3, "unfinished": 1, "mean_tokens": 23.0}
    assert scores["tasks"]["biored_ner"]["cut_answers"] == 0
    (line,) = (line for line in summary_lines(scores) if "thought" in line)
    assert "3 of 4 with a thought, 23 tokens on average" in line
    assert "1 of 4 thoughts ran into their limit and brought no answer" in line
    write_predictions(run, ROWS[3:])
    score.main(config, run)
    assert "thoughts" not in json.loads(run.scores.read_text())["tasks"]["biored_ner"]


def test_rows_of_others_may_have_anything_for_a_thought() -> None:
    row = {"instance_id": "1", "prediction": "a", "reference": "b"}
    for thought, tokens in ((5, "many"), ([], -1), ({"a": 1}, 10**12), (None, 1.5), (True, True)):
        found = our_answer({**row, "thought": thought, "thought_tokens": tokens}, "biored_ner", "x:1")
        assert (found.thought, found.thought_tokens) == (None, None)
    assert our_answer({**row, "thought": "so", "thought_tokens": 3}, "biored_ner", "x:1").thought == "so"


def test_an_empty_thought_is_none_and_an_unfinished_one_is_one() -> None:
    """Servers may keep the text for themselves."""
    rows = [
        ("stop", 3, ""),
        ("stop", 40, None),
        ("stop", 30, "Hm."),
        ("unfinished_thought", 50, "Hm"),
        ("stop", 0, None),
    ]
    counts = thought_counts(rows)
    assert counts == {"answers": 3, "unfinished": 1, "mean_tokens": 40}
    assert thoughts_phrase(counts, 5)[0] == "3 of 5 with a thought, 40 tokens on average"
    assert thought_counts([("stop", 3, "")]) is None
