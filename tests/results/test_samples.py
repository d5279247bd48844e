"""Several samples of each answer: scored and judged one by one, averaged, compared, and shown with their number."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from task_cases import REFERENCES

from sciriff import compare, score
from sciriff.config import Config, to_yaml
from sciriff.data.records import Judgement, Prediction
from sciriff.report.page import content, filled
from sciriff.results.finished_runs import read_run
from sciriff.results.per_instance import read_per_instance
from sciriff.results.score_intervals import interval
from sciriff.results.scores import read_summary
from sciriff.results.summary_table import mean_line, summary_lines
from sciriff.results.task_columns import TaskColumns
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks.biored import BIORED
from sciriff.tasks.mup import MUP as MUP_TASK
from sciriff.track.copying import summary_values

NER, MUP, LIST = "biored_ner", "mup_single_document_summarization", "bioasq_list_qa"
SAMPLES = 3
INSTANCES = 8
Composed = Callable[..., Config]


def text_of(task: str, number: int, sample: int) -> str:
    """Right by a rule that no two samples share; summaries get longer from sample to sample."""
    if task == MUP:
        return REFERENCES[MUP] + " and more" * sample
    return REFERENCES[task] if (number * sample) % (sample + 2) < 2 else "[]" if task == LIST else "{}"


def rows_of(task: str, samples: list[int], numbered: bool = True) -> list[Prediction]:
    return [
        Prediction(
            *(task, f"{task}:{number}", "p", text_of(task, number, sample), REFERENCES[task], "stop", 3, 2),
            sample=sample if numbered else None,
        )
        for number in range(INSTANCES)
        for sample in samples
    ]


def write(run: RunDir, samples: list[int], numbered: bool = True) -> RunDir:
    """The answers of some samples; a single one as a run without samples writes it."""
    for task in (NER, MUP, LIST):
        write_jsonl(run.predictions / f"{task}.jsonl", rows_of(task, samples, numbered))
    ids = {task: [f"{task}:{n}" for n in range(INSTANCES)] for task in (NER, MUP, LIST)}
    many = {"samples": len(samples)} if numbered else {}
    run.expected.write_text(json.dumps({**ids, **many}))
    return run


@pytest.fixture
def scored(composed: Composed) -> Callable[..., dict[str, Any]]:
    def scores(run: RunDir, *overrides: str) -> dict[str, Any]:
        settings = composed("experiment=demo", f"name={run.root.name}", f"run_dir={run.root}", *overrides)
        run.config.write_text(to_yaml(settings))
        score.main(settings, run)
        return json.loads(run.scores.read_text())

    return scores


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return write(RunDir(tmp_path / "sampled"), [1, 2, 3])


def test_each_sample_is_scored_as_a_run_of_its_own(tmp_path: Path, run: RunDir, scored) -> None:
    scores = scored(run)
    alone = [scored(write(RunDir(tmp_path / f"alone-{n}"), [n], numbered=False)) for n in (1, 2, 3)]
    assert "samples" not in alone[0] and "sd_over_samples" not in json.dumps(alone)
    assert scores["samples"] == SAMPLES
    for task in (NER, MUP, LIST):
        found, each = scores["tasks"][task], [one["tasks"][task] for one in alone]
        assert (found["n"], found["answers"]) == (INSTANCES, SAMPLES * INSTANCES)
        assert found["readable"] == pytest.approx(fmean(one["readable"] for one in each))
        for name, value in found["details"].items():
            values = [one["details"][name] for one in each]
            assert value == pytest.approx(fmean(values))
            assert found["sd_over_samples"][name] == pytest.approx(stdev(values))
    for name, column in scores["summary"]["columns"].items():
        values = [one["summary"]["columns"][name]["value"] for one in alone]
        assert len(set(values)) > 1, "samples that all score the same show nothing"
        assert column["value"] == pytest.approx(fmean(values))
        assert column["sd_over_samples"] == pytest.approx(stdev(values))
    means = [one["summary"]["mean"] for one in alone]
    assert scores["summary"]["mean"] == pytest.approx(fmean(means))
    assert scores["summary"]["mean_sd_over_samples"] == pytest.approx(stdev(means))


def test_the_interval_is_that_of_instances_with_all_their_samples(run: RunDir, scored) -> None:
    low, high = scored(run)["summary"]["columns"][f"{NER}/f1"]["ci95"]
    rows = read_per_instance(run.per_instance / f"{NER}.jsonl", BIORED)
    cube = np.array([[rows[f"{NER}:{n}", s].vector for n in range(INSTANCES)] for s in (1, 2, 3)], dtype=float)
    [found] = TaskColumns(BIORED, BIORED.columns, (cube,)).linear()
    assert interval(found[f"{NER}/f1"]) == (low, high)
    # each instance's part in the mean of three F1s
    alone = [TaskColumns(BIORED, BIORED.columns, (cube[s : s + 1],)).linear()[0][f"{NER}/f1"] for s in range(3)]
    influences = np.mean([sample.influence for sample in alone], axis=0)
    assert found[f"{NER}/f1"].influence == pytest.approx(influences)


def test_the_interval_covers_other_instances_and_other_answers_to_them() -> None:
    """Each of 300 times other instances, each with its own chance of a good answer, and other answers to them: 95 % of
    the intervals have the true mean in them, give or take three standard errors."""
    random, field = np.random.default_rng(5), MUP_TASK.fields.index
    covered = 0
    for _ in range(300):
        good = random.random((SAMPLES, 60)) < random.beta(0.8, 0.8, 60)
        rows = np.zeros((SAMPLES, 60, len(MUP_TASK.fields)))
        rows[:, :, field("points")], rows[:, :, field("rated")] = good, 1
        [found] = TaskColumns(MUP_TASK, MUP_TASK.judged_columns, (rows,)).linear()[0].values()
        low, high = interval(found)
        covered += low <= 0.5 <= high
    assert 0.91 < covered / 300 < 0.99


def test_people_see_the_spread_over_samples(run: RunDir, scored) -> None:
    scores = scored(run)
    lines = summary_lines(scores)
    assert lines[0].endswith("sd over 3 samples")
    column = scores["summary"]["columns"][f"{NER}/f1"]
    [line] = [line for line in lines if line.startswith(f"{NER}/f1")]
    assert line.endswith(f"± {100 * column['sd_over_samples']:.2f}")
    assert len({len(line) for line in lines[:12]}) == 1, "the table is aligned"
    assert f" ± {100 * scores['summary']['mean_sd_over_samples']:.2f} of 2 of 11" in mean_line(scores["summary"])
    values = summary_values(read_summary(run.scores))
    assert values[f"{NER}/f1_sd_over_samples"] == column["sd_over_samples"]
    assert values["mean_sd_over_samples"] == scores["summary"]["mean_sd_over_samples"]


def test_what_is_missing_is_named_with_its_sample(run: RunDir, scored) -> None:
    rows = rows_of(NER, [1, 2, 3])
    write_jsonl(run.predictions / f"{NER}.jsonl", [row for row in rows if row.key != (f"{NER}:4", 2)])
    with pytest.raises(ValueError, match=rf"{NER}:4 \(sample 2\) is missing of 24 samples; run the predict stage"):
        scored(run)
    scores = scored(run, "allow_missing=true")
    assert (scores["tasks"][NER]["n"], scores["tasks"][NER]["answers"], scores["tasks"][NER]["missing"]) == (8, 23, 1)
    assert f"{NER}: 1 of 24 answers are missing" in summary_lines(scores)
    # a whole sample: the others are averaged
    write_jsonl(run.predictions / f"{NER}.jsonl", [row for row in rows if row.sample != 2])
    two = scored(run, "allow_missing=true")["tasks"][NER]
    write(run, [1, 3])
    run.expected.unlink()
    for task in (MUP, LIST):
        (run.predictions / f"{task}.jsonl").unlink()
    write_jsonl(run.predictions / f"{NER}.jsonl", rows_of(NER, [1], numbered=False))
    first = scored(run)["tasks"][NER]
    third = scored_alone(run, scored)
    assert two["details"]["all_typed_f1"] == pytest.approx(
        (first["details"]["all_typed_f1"] + third["details"]["all_typed_f1"]) / 2
    )


def scored_alone(run: RunDir, scored) -> dict[str, Any]:
    write_jsonl(run.predictions / f"{NER}.jsonl", rows_of(NER, [3], numbered=False))
    return scored(run)["tasks"][NER]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": 0}, r"biored_ner.jsonl:1: sample=0: expected int >= 1"),
        ({"sample": "2"}, r'biored_ner.jsonl:1: sample="2": expected int'),
        ({"sample": 2}, r"biored_ner.jsonl:2: instance biored_ner:0 \(sample 2\) stands here twice, first at .*:1"),
        ({"sample": 4}, r"biored_ner:0 \(sample 4\) is not among the samples that were asked"),
        ({"output_tokens": -1}, r"biored_ner.jsonl:1: output_tokens=-1: expected int >= 0"),
        ({"prompt_tokens": 10**400}, r"jsonl:1: prompt_tokens=10{19}: expected int <= 1000000000"),
    ],
)
def test_rows_that_are_refused(run: RunDir, scored, change: dict[str, Any], message: str) -> None:
    path = run.predictions / f"{NER}.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **change}), *others]) + "\n")
    with pytest.raises(ValueError, match=message):
        scored(run)


def test_a_number_of_a_sample_beyond_all_measure(tmp_path: Path, run: RunDir, scored) -> None:
    """The missing answers are counted, not listed: they would not fit into memory."""
    path = run.predictions / f"{NER}.jsonl"
    first, *others = path.read_text().splitlines()
    run.expected.unlink()
    path.write_text("\n".join([json.dumps({**json.loads(first), "sample": 10**12}), *others]) + "\n")
    with pytest.raises(ValueError, match=r"and 7999999999973 more are missing of 8000000000000 samples"):
        scored(run)
    missing = INSTANCES * (10**12 - SAMPLES)
    assert scored(run, "allow_missing=true", f"eval.tasks=[{NER}]")["tasks"][NER]["missing"] == missing


def test_samples_of_another_folder_say_themselves_how_many_they_are(tmp_path: Path, run: RunDir, scored) -> None:
    there = scored(run)
    (run.expected).unlink()
    here = RunDir(tmp_path / "here")
    here.root.mkdir()
    scores = scored(here, f"predictions={run.predictions}")
    assert scores["samples"] == SAMPLES
    assert scores["summary"] == there["summary"]


def test_a_judge_rates_every_sample(run: RunDir, scored) -> None:
    ratings = [
        Judgement(f"{MUP}:{n}", "judge", "d", "r", 1 + (n + s) % 5, "rated", sample=s)
        for n in range(INSTANCES)
        for s in (1, 2, 3)
    ]
    write_jsonl(run.judgements / f"{MUP}.jsonl", ratings)
    scores = scored(run)
    column = scores["summary"]["columns"][f"{MUP}/lm_judge_reference"]
    each = [fmean(((n + s) % 5) / 4 for n in range(INSTANCES)) for s in (1, 2, 3)]
    assert column["value"] == pytest.approx(fmean(each))
    assert column["sd_over_samples"] == pytest.approx(stdev(each))
    assert scores["tasks"][MUP]["judge"]["judged"] == 24
    write_jsonl(run.judgements / f"{MUP}.jsonl", ratings[1:-1])
    with pytest.raises(ValueError, match=rf"{MUP}:0, {MUP}:7 \(sample 3\) are not judged"):
        scored(run)
    write_jsonl(run.judgements / f"{MUP}.jsonl", [*ratings, ratings[-1]])
    with pytest.raises(ValueError, match=rf":25: instance {MUP}:7 \(sample 3\) stands here twice"):
        scored(run)


def test_runs_with_samples_are_compared_by_their_means(
    tmp_path: Path, run: RunDir, scored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = scored(run)
    single = write(RunDir(tmp_path / "single"), [1], numbered=False)
    scored(single)
    arguments = ["--json", str(tmp_path / "out.json"), "--latex", str(tmp_path / "out.tex")]
    page = ["--html", str(tmp_path / "out.html")]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["compare", str(single.root), str(run.root), *arguments, *page])
    assert compare.main() == 0
    said = capsys.readouterr().out
    spread = 100 * scores["summary"]["columns"][f"{NER}/f1"]["sd_over_samples"]
    assert f"(samples ± {spread:.2f})" in said
    row = json.loads((tmp_path / "out.json").read_text())["comparisons"][0]["columns"][f"{NER}/f1"]
    column = scores["summary"]["columns"][f"{NER}/f1"]
    assert row["n"] == INSTANCES
    assert row["value"]["mean"] == pytest.approx(column["value"])
    assert row["value"]["sd_over_samples"] == pytest.approx(column["sd_over_samples"])
    assert row["baseline"]["sd_over_samples"] is None
    latex = (tmp_path / "out.tex").read_text()
    assert r"$\pm$: standard deviation over samples" in latex
    assert rf"{100 * column['value']:.1f} {{\scriptsize $\pm$ {spread:.1f}}}" in latex
    assert f"± {spread:.1f} over samples" in (tmp_path / "out.html").read_text()
    assert read_run(run.root).scores["mean"]["sd_over_samples"] == scores["summary"]["mean_sd_over_samples"]


def test_the_report_says_what_was_sampled(run: RunDir, scored, composed: Composed) -> None:
    scores = scored(run)
    config = composed("experiment=demo", "train=none", "name=sampled", f"run_dir={run.root}", *SAMPLED)
    run.config.write_text(to_yaml(config))
    text = filled(content(config, run)).decode()
    assert "3 samples of each answer were drawn, and each was scored by itself" in text
    spread = 100 * scores["summary"]["columns"][f"{NER}/f1"]["sd_over_samples"]
    assert f'<span class="small">± {spread:.1f}</span>' in text
    assert "± over 3 samples" in text
    assert "<dt>Temperature</dt><dd>0.8</dd>" in text


SAMPLED = ("eval.samples=3", "engine.temperature=0.8")
