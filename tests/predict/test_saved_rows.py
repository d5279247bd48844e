"""Saved rows survive a kill, and are reused as long as they answer what is requested."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from predict_runs import ROOT

from sciriff.data.records import AnswerKey, Prediction
from sciriff.predict import saved_rows
from sciriff.predict.saved_rows import RequestedAnswer
from sciriff.run.run_dir import RunDir

SETTINGS = {"model": "m", "end tokens": [2]}
NER, OTHER = "scierc_ner:v:0", "scierc_ner:v:1"
BIORED = "biored_ner:v:0"


def asked_of(
    *instance_ids: str, digest: str = "d", limit: int = 9, reference: str = "reference", samples: int | None = None
) -> dict[AnswerKey, RequestedAnswer]:
    numbers = [None] if samples is None else range(1, samples + 1)
    return {
        (i, n or 1): RequestedAnswer(i.partition(":")[0], digest, limit, reference, n)
        for i in instance_ids
        for n in numbers
    }


def keys(*instance_ids: str) -> list[AnswerKey]:
    return [(i, 1) for i in instance_ids]


def prediction(instance_id: str, *, tokens: int = 2, ended: str = "stop", digest: str = "d") -> Prediction:
    text = "answer\n\u2028 \ud800"
    task = instance_id.partition(":")[0]
    return Prediction(task, instance_id, "prompt", text, "reference", ended, 3, tokens, prompt_digest=digest)


EVERYTHING = asked_of(NER, OTHER, BIORED)


def begun(folder: Path, *rows: Prediction) -> RunDir:
    """A run folder with these rows."""
    run = RunDir(folder)
    assert saved_rows.begin(run, EVERYTHING, SETTINGS).rows == {}
    saved_rows.append(run, rows)
    return run


def test_rows_are_reloaded_and_end_in_the_order_of_the_instances(tmp_path: Path) -> None:
    second, first, other = (prediction(i) for i in (OTHER, NER, BIORED))
    run = begun(tmp_path, second, other)
    expected = {"scierc_ner": [NER, OTHER], "biored_ner": [BIORED]}
    assert json.loads(run.expected.read_text()) == expected
    saved_rows.append(run, [first])
    saved = saved_rows.begin(run, EVERYTHING, SETTINGS)
    assert saved.rows == {row.key: row for row in (first, second, other)}
    assert saved.kept == set()
    saved_rows.keep_only(run, EVERYTHING, saved.rows)
    lines = (run.predictions / "scierc_ner.jsonl").read_text().splitlines()
    assert [json.loads(line)["instance_id"] for line in lines] == [NER, OTHER]


def test_a_partial_line_is_skipped_and_removed(tmp_path: Path) -> None:
    run = begun(tmp_path, prediction(NER))
    path = run.predictions / "scierc_ner.jsonl"
    with path.open("ab") as file:
        file.write(b'\x00\x00\n[1]\n{"task": "scierc_ner"}\n{"task": "scierc_ner", "instance_id": "scierc')
    rows = saved_rows.begin(run, EVERYTHING, SETTINGS).rows
    assert list(rows) == keys(NER)
    saved_rows.keep_only(run, EVERYTHING, rows)
    assert len(path.read_bytes().splitlines()) == 1


def test_other_settings_start_afresh_and_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path, prediction(NER))
    assert saved_rows.begin(run, EVERYTHING, {**SETTINGS, "model": "n"}).rows == {}
    assert "made with another model: starting afresh" in capsys.readouterr().out
    assert not (run.predictions / "scierc_ner.jsonl").exists()


def test_scores_of_general_tasks_do_not_outlive_the_model(tmp_path: Path) -> None:
    run = begun(tmp_path, prediction(NER))
    run.general.mkdir()
    run.general_settings.write_text("{}")
    saved_rows.begin(run, EVERYTHING, SETTINGS)
    assert run.general_settings.is_file()
    saved_rows.begin(run, EVERYTHING, {**SETTINGS, "model": "n"})
    assert not run.general_settings.is_file()


def test_more_instances_keep_the_saved_rows(tmp_path: Path) -> None:
    run = begun(tmp_path, prediction(NER))
    more = {**EVERYTHING, **asked_of("scierc_ner:v:2", "scifact_entailment:v:0")}
    saved = saved_rows.begin(run, more, SETTINGS)
    assert list(saved.rows) == keys(NER)
    assert saved.kept == set(keys(NER))
    # They stay excluded from batches after another interruption.
    saved_rows.append(run, [prediction(OTHER)])
    saved = saved_rows.begin(run, more, SETTINGS)
    assert set(saved.rows) == set(keys(NER, OTHER))
    assert saved.kept == set(keys(NER))


def test_a_changed_prompt_loses_only_its_own_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path, prediction(NER), prediction(BIORED))
    saved = saved_rows.begin(run, {**asked_of(NER, digest="another"), **asked_of(BIORED)}, SETTINGS)
    assert list(saved.rows) == keys(BIORED)
    assert "1 answers are to another prompt or had another limit" in capsys.readouterr().out


def test_another_limit_loses_the_answers_it_would_change(tmp_path: Path) -> None:
    rows = (prediction(NER, tokens=9, ended="length"), prediction(OTHER, tokens=9), prediction(BIORED, tokens=4))
    for limit, good in ((9, {NER, OTHER, BIORED}), (20, {OTHER, BIORED}), (8, {BIORED}), (4, {BIORED}), (3, set())):
        run = begun(tmp_path / str(limit), *rows)
        assert set(saved_rows.begin(run, asked_of(NER, OTHER, BIORED, limit=limit), SETTINGS).rows) == set(
            keys(*good)
        ), limit


def test_a_changed_reference_keeps_the_answer(tmp_path: Path) -> None:
    run = begun(tmp_path, prediction(NER))
    saved = saved_rows.begin(run, asked_of(NER, reference="corrected"), SETTINGS)
    assert saved.rows == {(NER, 1): replace(prediction(NER), reference="corrected")}


def test_rows_no_longer_requested_are_set_aside_and_reused_later(tmp_path: Path) -> None:
    run = begun(tmp_path, *(prediction(i) for i, _ in EVERYTHING))
    fewer = asked_of(NER)
    saved = saved_rows.begin(run, fewer, SETTINGS)
    saved_rows.keep_only(run, fewer, saved.rows)
    assert sorted(path.name for path in run.predictions.glob("*.jsonl")) == ["scierc_ner.jsonl"]
    assert sorted(path.name for path in run.not_asked.iterdir()) == ["biored_ner.jsonl", "scierc_ner.jsonl"]
    saved = saved_rows.begin(run, EVERYTHING, SETTINGS)
    assert set(saved.rows) == set(EVERYTHING)
    assert not run.not_asked.exists()


def test_other_versions_are_noted_and_keep_the_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path, prediction(NER))
    for made_with in ({"torch": "2.8"}, {"torch": "2.8"}, {"torch": "2.9"}):
        saved_rows.note_versions(run, made_with)
    assert json.loads(run.answered_with.read_text())["made with"] == [{"torch": "2.8"}, {"torch": "2.9"}]
    assert capsys.readouterr().out.count("other versions or devices than before") == 1
    assert list(saved_rows.begin(run, EVERYTHING, SETTINGS).rows) == keys(NER)


def test_rows_of_another_origin_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "scierc_ner.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"scierc_ner.jsonl was not written by this stage"):
        saved_rows.begin(RunDir(tmp_path), EVERYTHING, SETTINGS)


@pytest.mark.parametrize("content", ["", "[]", '{"model": "m"}'])
def test_malformed_settings_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    run = begun(tmp_path, prediction(NER))
    run.answered_with.write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json is not as this version writes it; remove "):
        saved_rows.begin(run, EVERYTHING, SETTINGS)
    assert (run.predictions / "scierc_ner.jsonl").exists()


FILL = """
import sys
from pathlib import Path
from sciriff.predict import saved_rows
from sciriff.data.records import Prediction
from sciriff.run.run_dir import RunDir

for i in range(10_000):
    saved_rows.append(RunDir(Path(sys.argv[1])), [Prediction("scierc_ner", f"scierc_ner:v:{i}", "p", "x" * 99, "r")])
"""


def test_a_full_disk_is_reported_in_one_line_and_loses_no_row(tmp_path: Path) -> None:
    run = begun(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        check=False,
    )
    assert "scierc_ner.jsonl could not be written (File too large); what was there before is kept" in result.stderr
    lines = (run.predictions / "scierc_ner.jsonl").read_bytes().split(b"\n")
    assert len(lines) > 20
    assert all(json.loads(line)["prediction"] == "x" * 99 for line in lines[:-1])


@pytest.mark.parametrize(
    ("ended", "tokens", "thought", "holds"),
    [
        # (limit, thinking) under which the row holds, of those tried below
        ("stop", 5, None, {(9, 0), (9, 9), (5, 4), (5, 0)}),
        ("length", 9, None, {(9, 0), (9, 9)}),
        ("stop", 9, 4, {(9, 0), (9, 9), (5, 4)}),
        ("length", 9, 4, {(9, 0), (5, 4)}),
        ("length", 13, 4, {(9, 9)}),
        ("unfinished_thought", 4, 4, {(5, 4)}),
        ("unfinished_thought", 9, 9, {(9, 0), (9, 9)}),
        ("no_content", 5, 5, {(9, 0), (9, 9), (5, 0)}),
    ],
)
def test_a_row_holds_while_no_limit_would_change_its_thought_or_its_answer(
    ended: str, tokens: int, thought: int | None, holds: set[tuple[int, int]]
) -> None:
    row = replace(prediction(NER, tokens=tokens, ended=ended), thought_tokens=thought)
    found = {
        (limit, thinking)
        for limit, thinking in ((9, 0), (9, 9), (5, 4), (5, 0))
        if RequestedAnswer("scierc_ner", "d", limit, "reference", thinking=thinking).answered_by(row)
    }
    assert found == holds
