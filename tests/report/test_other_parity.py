"""The table of values under the other rules of scoring."""

import html
import json
import re
from collections.abc import Callable

import pytest

from sciriff import score
from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.report import other_parity
from sciriff.report.page import content, filled
from sciriff.results.scores import read_scores
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

GOLD = '{"verdict": "SUPPORT", "evidence": ["Pain was lower."]}'
MakeRun = Callable[..., tuple[Config, RunDir]]


def words(page: bytes) -> str:
    text = re.sub("<wbr>", "", page.decode())
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split())


def scored(make_run: MakeRun, *answers: str) -> tuple[Config, RunDir]:
    config, run = make_run("mine", {}, "train=none", "eval.resamples=0")
    rows = [Prediction("scifact_entailment", f"x:{n}", "prompt", text, GOLD) for n, text in enumerate(answers)]
    write_jsonl(run.predictions / "scifact_entailment.jsonl", rows)
    score.main(config, run)
    return config, run


def test_columns_that_differ_and_by_how_much(make_run: MakeRun):
    config, run = scored(make_run, GOLD, "[]")
    text = words(filled(content(config, run)))
    assert "scored under eval.parity=reference: 1 count otherwise, 2 columns and" in text
    assert "scifact_entailment f1_label 66.67 100.00 +33.33" in text
    assert "mean 66.67 100.00 +33.33" in text
    found = other_parity.other_parity(read_scores(run.scores))
    assert found is not None
    assert [row.name for row in found.columns] == ["f1_label", "f1_evidence_token", "", ""]
    assert "all_label_r" in [row.name for row in found.details]
    assert not {"all_label_f1", "all_evidence_tok_f1"} & {row.name for row in found.details}, "they are columns"
    assert f"Other values that differ ({len(found.details)})" in text


def test_nothing_that_differs_is_said(make_run: MakeRun):
    config, run = scored(make_run, GOLD)
    text = words(filled(content(config, run)))
    assert "The same answers scored under eval.parity=reference have the same values throughout." in text
    assert "Other values that differ" not in text


def test_scores_of_an_earlier_version_and_broken_ones(make_run: MakeRun):
    config, run = make_run("old", {"biored_ner/f1": 0.5})
    assert other_parity.other_parity(read_scores(run.scores)) is None
    assert "other rules" not in words(filled(content(config, run)))
    values = json.loads(run.scores.read_text())
    run.scores.write_text(json.dumps({**values, "other_parity": {"columns": {"nothing": 1}}}))
    with pytest.raises(ValueError, match=r"scores.json: not the scores of a run"):
        filled(content(config, run))
