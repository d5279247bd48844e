"""Runs as one Parquet table: what its columns hold. A stranger's run is data, and its links are not followed."""

import json
import re
import shutil
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest
from exports import VALIDATION, answers, export, write_predictions
from general_runs import write_general
from hydra import compose, initialize_config_dir

from sciriff import config, score
from sciriff.config import conf_dir, from_container
from sciriff.config.registration import register
from sciriff.data.records import Judgement, Prediction
from sciriff.export import answer_table
from sciriff.run.json_lines import read_json_objects, write_jsonl
from sciriff.run.run_dir import RunDir

PAGE = Path(__file__).parents[2] / "docs" / "exporting.md"
QASPER, NER = "qasper_abstractive_qa", "scierc_ner"


def scored(root: Path, *overrides: str) -> RunDir:
    """Score what lies in a folder under a config of its own."""
    register()
    words = ["experiment=demo", "train=none", f"name={root.name}", f"run_dir={root}", "eval.resamples=0"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = from_container(compose("config", [*words, "allow_missing=true", *overrides]))
    run = RunDir(root)
    run.root.mkdir(parents=True, exist_ok=True)
    run.config.write_text(config.to_yaml(settings))
    score.main(settings, run)
    return run


def small(root: Path, *rows: Prediction, overrides: tuple[str, ...] = ()) -> RunDir:
    """A scored run of some answers."""
    for row in rows:
        mine = [other for other in rows if other.task == row.task]
        write_jsonl(RunDir(root).predictions / f"{row.task}.jsonl", mine)
    return scored(root, *overrides)


def ner(n: int = 0, prediction: str = '{"Task": ["parsing"]}', **others: object) -> Prediction:
    return Prediction(NER, f"{NER}:{n}", "Name it.", prediction, '{"Task": ["parsing", "tagging"]}', **others)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    """Invented answers to the bundled rows, with ratings of Qasper."""
    root = tmp_path_factory.mktemp("runs") / "one"
    write_predictions(root / "predictions")
    rows = [row["instance_id"] for _, row in read_json_objects(root / "predictions" / f"{QASPER}.jsonl")]
    rated = [Judgement(i, "some-judge", "d", f"Rating: {n % 5 + 1}", n % 5 + 1, "rated") for n, i in enumerate(rows)]
    write_jsonl(root / "judgements" / f"{QASPER}.jsonl", rated)
    return scored(root)


def table(monkeypatch, target: Path, *runs: object, status: int = 0) -> pandas.DataFrame:
    assert export(monkeypatch, "parquet", target, *runs) == status
    return pandas.read_parquet(target)


def test_every_answer_is_a_row_with_its_texts_and_numbers(run, tmp_path, monkeypatch, capsys):
    frame = table(monkeypatch, tmp_path / "new" / "answers.parquet", run.root)
    rows = [row for _, row in read_json_objects(VALIDATION)]
    assert len(frame) == len(rows) > 100
    assert f"{len(rows)} answers of 1 run, {len(frame.columns)} columns" in capsys.readouterr().out
    found = frame.set_index("instance_id")
    said = answers()
    for row in rows:
        cells = found.loc[row["_instance_id"]]
        assert (cells["prompt"], cells["prediction"]) == (row["input"], said[row["_instance_id"]])
        assert (cells["reference"], cells["run"], cells["sample"]) == (row["output"], "one", 1)
    assert set(frame["folder"]) == {str(run.root)}
    assert frame["document"].nunique() > 50
    assert (frame["readable"] == frame["unreadable"].isna()).all() and 0 < frame["readable"].mean() < 1


def test_the_counts_give_the_scores_of_the_run(run, tmp_path, monkeypatch):
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root)
    columns = json.loads(run.scores.read_text())["summary"]["columns"]
    sums = frame[frame["task"] == NER].filter(like="count.").sum()
    precision = sums["count.typed_correct"] / sums["count.typed_preds"]
    recall = sums["count.typed_correct"] / sums["count.typed_refs"]
    micro = 2 * precision * recall / (precision + recall)
    assert micro == pytest.approx(columns[f"{NER}/f1"]["value"])
    judged = frame[frame["task"] == QASPER]
    assert ((judged["rating"] - 1) / 4).mean() == pytest.approx(columns[f"{QASPER}/lm_judge_answer"]["value"])
    assert set(judged["judge"]) == {"some-judge"}
    assert judged["score.f1_evidence"].mean() <= 1 and frame[frame["task"] == NER]["score.f1_evidence"].isna().all()
    assert frame[frame["task"] != QASPER]["rating"].isna().all()
    one = frame[(frame["task"] == NER) & (frame["prediction"] == frame["reference"])].iloc[0]
    assert (one["score"], one["score.f1"]) == (1, 1)


def test_configs_are_typed_columns_and_those_that_differ_come_first(tmp_path, monkeypatch):
    runs = [
        small(tmp_path / "a", ner(), overrides=("seed=1", "eval.max_new_tokens=7")),
        small(tmp_path / "b", ner(), overrides=("seed=2", "eval.max_new_tokens=9")),
    ]
    target = tmp_path / "answers.parquet"
    frame = table(monkeypatch, target, runs[0].root, runs[1].root)
    config_columns = [name for name in frame.columns if name.startswith("config.")]
    assert config_columns[:2] == ["config.eval.max_new_tokens", "config.seed"] and len(config_columns) > 50
    assert frame["config.seed"].tolist() == [1, 2] and frame["config.seed"].dtype == "int64"
    assert frame["config.deepspeed.offload"].dtype == "bool" and frame["config.engine.temperature"].dtype == "float64"
    assert set(frame["config.model.name"]) == {"tiny"} and frame["config.model.revision"].isna().all()
    few = table(monkeypatch, target, runs[0].root, runs[1].root, "--keys", "differing", "--no-prompts")
    assert [name for name in few.columns if name.startswith("config.")] == config_columns[:2]
    assert "prompt" not in few and "prediction" in few
    none = table(monkeypatch, target, runs[0].root, "--keys", "none")
    assert not [name for name in none.columns if name.startswith("config.")]


@pytest.mark.shows("R1")
def test_keys_of_a_stranger_s_config_are_plain_data(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "swallowed")
    run = small(tmp_path / "a", ner())
    run.config.write_text(
        'name: ${oc.env:CANARY}\nseed: ${seed}\n"a.b": 1\na: {b: 2}\nlist: [1, {c: null}]\n"\\u001b[31m": red\n'
        f"huge: {10**30}\nmixed: true\n"
    )
    other = small(tmp_path / "b", ner())
    other.config.write_text("mixed: words\nhalf: 0.5\nseed: 3\n")
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root, other.root)
    first = frame.iloc[0]
    assert first["config.seed"] == "${seed}" and frame["config.seed"].tolist()[1] == "3"
    assert (first['config."a.b"'], first["config.a.b"]) == (1, 2)
    assert (first["config.list"], first["config.huge"]) == ('[1, {"c": null}]', str(10**30))
    assert frame["config.mixed"].tolist() == ["true", "words"]
    assert frame["config.half"].isna().tolist() == [True, False]
    assert 'config."\\u001b[31m"' in frame.columns
    assert b"swallowed" not in (tmp_path / "answers.parquet").read_bytes()
    assert "swallowed" not in frame.to_csv()


def test_hostile_texts_are_data(tmp_path, monkeypatch, capsys):
    hostile = "\x00\x1b[31m\r\n=cmd()\u202e,'\"\U0001f600"
    run = small(tmp_path / "a", ner(1, hostile), ner(2, "half \ud83d of it \udfff"))
    rows = [Prediction(NER, "../../etc", "", "", '{"Task": ["x"]}', sample=None), ner(1, hostile), ner(2, "x\ud800")]
    write_jsonl(run.predictions / f"{NER}.jsonl", rows)
    run = scored(run.root)
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root)
    assert frame["prediction"].tolist() == ["", hostile, "x\ufffd"]
    assert frame["instance_id"].tolist()[0] == "../../etc"
    assert "1 texts had lone surrogates" in capsys.readouterr().err


def test_the_same_runs_give_the_same_bytes_in_any_batches(run, tmp_path, monkeypatch):
    table(monkeypatch, tmp_path / "a.parquet", run.root)
    first = table(monkeypatch, tmp_path / "b.parquet", run.root)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    monkeypatch.setattr(answer_table, "MOST_CHARACTERS", 20_000)
    again = table(monkeypatch, tmp_path / "b.parquet", run.root)
    assert pq.ParquetFile(tmp_path / "b.parquet").num_row_groups > 5
    pandas.testing.assert_frame_equal(first, again)


def test_runs_of_one_name_are_told_apart(tmp_path, monkeypatch):
    small(tmp_path / "runs" / "a", ner(0), ner(1))
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "runs" / "b")
    frame = table(monkeypatch, tmp_path / "answers.parquet", tmp_path / "runs")
    assert frame["run"].tolist() == frame["folder"].tolist() == [str(tmp_path / "runs" / name) for name in "aabb"]


def test_samples_and_lengths(tmp_path, monkeypatch):
    answers = [
        ner(0, sample=1, finish_reason="stop", prompt_tokens=5, output_tokens=3),
        ner(0, "none", sample=2, finish_reason="length", truncated_tokens=9),
    ]
    frame = table(monkeypatch, tmp_path / "answers.parquet", small(tmp_path / "a", *answers).root)
    assert frame["sample"].tolist() == [1, 2] and frame["finish_reason"].tolist() == ["stop", "length"]
    assert frame["truncated_tokens"].tolist() == [0, 9] and frame["unreadable"].tolist()[1] == "no_json"
    assert frame["prompt_tokens"].tolist()[0] == 5 and frame["prompt_tokens"].isna().tolist() == [False, True]


@pytest.mark.shows("R14")
def test_answers_from_elsewhere_have_numbers_and_no_texts(tmp_path, monkeypatch, capsys):
    write_jsonl(tmp_path / "elsewhere" / f"{NER}.jsonl", [ner(0), ner(1)])
    run = scored(tmp_path / "a", f"predictions={tmp_path / 'elsewhere'}")
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root)
    assert frame["prediction"].isna().all() and frame["score.f1"].tolist() == [pytest.approx(2 / 3)] * 2
    assert "a: 2 rows without texts" in capsys.readouterr().err
    own = small(tmp_path / "c", ner(0), overrides=(f"predictions={tmp_path / 'c' / 'predictions'}",))
    assert table(monkeypatch, tmp_path / "answers.parquet", own.root)["prediction"].notna().all()
    linked = small(tmp_path / "b", ner(0))
    secret = tmp_path / "secret.jsonl"
    (linked.predictions / f"{NER}.jsonl").rename(secret)
    (linked.predictions / f"{NER}.jsonl").symlink_to(secret)
    assert table(monkeypatch, tmp_path / "answers.parquet", linked.root)["prediction"].isna().all()
    linked.config.rename(tmp_path / "secret.yaml")
    linked.config.symlink_to(tmp_path / "secret.yaml")
    assert export(monkeypatch, "parquet", tmp_path / "answers.parquet", linked.root) == 2
    assert "a link out of the run's folder" in capsys.readouterr().err


def test_answers_without_scores_are_said(tmp_path, monkeypatch, capsys):
    run = small(tmp_path / "a", ner(0))
    write_jsonl(run.predictions / f"{NER}.jsonl", [ner(0), ner(1)])
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root)
    assert frame["score"].isna().tolist() == [False, True] and frame["readable"].isna().tolist() == [False, True]
    assert "a: 1 answers are not scored" in capsys.readouterr().err


def test_documents_of_general_tasks_are_rows(tmp_path, monkeypatch):
    run = small(tmp_path / "a", ner(0))
    write_general(run, {"mmlu": {"mmlu_a": [1, 0], "mmlu_b": [0.5]}})
    frame = table(monkeypatch, tmp_path / "answers.parquet", run.root)
    general = frame[frame["task"].str.startswith("general/")]
    assert general["task"].tolist() == ["general/mmlu_a"] * 2 + ["general/mmlu_b"]
    assert general["score"].tolist() == [1, 0, 0.5] and general["prompt"].tolist()[1] == "Question 1 of mmlu_a?"
    assert general["instance_id"].is_unique and general["readable"].isna().all()


def test_what_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    run = small(tmp_path / "a", ner(0))

    def refused(*arguments: object) -> str:
        assert export(monkeypatch, "parquet", *arguments) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    capsys.readouterr()
    target = tmp_path / "answers.parquet"
    assert "a is a folder; name the FILE to write first" in refused(run.root, run.root)
    assert "scores.json is there and is no Parquet file" in refused(run.scores, run.root)
    assert "no run is found here" in refused(target, tmp_path / "nothing")
    (run.predictions / f"{NER}.jsonl").write_text('{"instance_id": 1}\n')
    assert f"{NER}.jsonl:1: " in refused(target, run.root)
    assert not list(tmp_path.glob("answers*")), "a half-written table stays nowhere"
    (run.per_instance / f"{NER}.jsonl").unlink()
    assert "python -m sciriff.score" in refused(target, run.root)
    run.scores.write_text("{}")
    assert "not the scores of a run" in refused(target, run.root)


@pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")
def test_the_page_has_every_column():
    rows = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| `") and "--" not in row]
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])]
    assert named == [*answer_table.FIXED, "score.NAME", "count.NAME", "config.KEY"]


@pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")
@pytest.mark.parametrize("package", ["pandas", "polars", "duckdb"])
def test_the_page_s_examples_print_the_f1_of_the_run(package, run, tmp_path, monkeypatch, capsys):
    pytest.importorskip(package)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [example] = [block for block in blocks if f"import {package}" in block]
    monkeypatch.chdir(tmp_path)
    table(monkeypatch, Path("answers.parquet"), run.root)
    capsys.readouterr()
    exec(example, {})
    printed = capsys.readouterr().out
    value = json.loads(run.scores.read_text())["summary"]["columns"][f"{NER}/f1"]["value"]
    assert "one" in printed and f"{value:.4f}" in printed
