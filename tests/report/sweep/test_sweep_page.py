"""sweep.html: its numbers are the comparison's, its lines follow from the configs, and jobs that failed are told."""

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from sweep_runs import Runs, grid

from sciriff import compare
from sciriff.driver import sweep
from sciriff.report.sweep.configs import flat, lines_of, varying
from sciriff.report.sweep.cost import Cost, cost_of, mean_cost
from sciriff.report.sweep.groups import rows_of
from sciriff.results import sweep_record
from sciriff.results.comparison import compare as compared
from sciriff.results.finished_runs import read_run
from sciriff.results.seeds import pool_seeds
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.sweep_page import main, write

RESAMPLES = 400


def words(page: Path) -> str:
    """What a reader sees, with the texts of drawings."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def written(place: Path) -> str:
    write(place, RESAMPLES)
    return words(place / sweep_record.PAGE)


def config(**keys: str) -> dict[str, str]:
    return {key.replace("__", "."): value for key, value in keys.items()}


def test_a_grid_is_drawn_as_lines_over_the_untrained_model(runs: Runs) -> None:
    place = grid(runs)
    text = written(place)
    assert "5 of 8 jobs are finished. 6 runs of 5 configurations. The highest mean is 88." in text
    assert (
        "of grid-per_task-20-tulu-match (2 seeds): +7" in text and "over llama2_7b-untrained, more than noise." in text
    )
    assert "The baseline is llama2_7b-untrained." in text
    page = (place / sweep_record.PAGE).read_text()
    assert page.count('aria-labelledby="ablation-') == 3, "the mean and two columns"
    assert page.count('<path class="band s0"') == page.count('<path class="band s1"') == 3
    assert page.count('<path class="rule" d="M58') == 5 and page.count('class="rule-band" d="M58') == 5
    [told] = re.findall(r'<desc id="ablation-0-told">(.*?)</desc>', page)
    assert re.match(r"Baseline 12\.\d \(\d+\.\d to \d+\.\d\)\. mix\.tulu=none: 5 per task 36\.\d ", told)
    assert "mix.tulu=match: 5 per task 16." in told and "; 20 per task 88." in told
    for name, status, reason in (
        ("grid-broken", "failed", "no disk <b>left</b>"),
        ("grid-killed", "running", "still running, or it was killed"),
        ("grid-stopped", "stopped", "stopped by a person"),
    ):
        assert f"{name} name={name} {status} 1 min 01 s {reason}" in text


def test_numbers_are_those_of_the_comparison(runs: Runs) -> None:
    place = grid(runs)
    text = written(place)
    groups = pool_seeds([read_run(runs.place / "runs" / f"run-{n}") for n in range(6)])
    for group in groups[1:]:
        found = compared(groups[0], group, RESAMPLES)
        assert found.mean is not None and found.mean.ci95 is not None
        low, high = (f"{100 * limit:+.1f}".replace("+0.0", "0.0").replace("-", "−") for limit in found.mean.ci95)
        p = "<0.001" if found.mean.p < 0.001 else f"{found.mean.p:.3f}"
        assert f"{100 * found.mean.difference:+.1f} {low} to {high} {p} " in text
    assert re.search(r"4\. grid-per_task-5-tulu-match .{0,80}≈ within noise", text)
    assert re.search(r"3\. grid-per_task-20-tulu-none .{0,80}▲ higher", text)


def test_the_intervals_of_one_run_are_those_of_its_scores(runs: Runs) -> None:
    run = runs.make("one", 0.4, "eval.resamples=300")
    scores = json.loads(run.scores.read_text())["summary"]
    [row] = rows_of(pool_seeds([read_run(run.root)]), RESAMPLES)
    assert row.mean.ci95 == pytest.approx(scores["mean_ci95"]) and row.mean.value.mean == pytest.approx(scores["mean"])
    for name, column in scores["columns"].items():
        assert row.columns[name].ci95 == pytest.approx(column["ci95"])


def test_runs_that_make_no_lines_say_what_they_differ_in(runs: Runs) -> None:
    for rate in ("1e-5", "2e-5"):
        runs.job(f"lr{rate}", runs.make(f"lr{rate}", 0.5, f"train.learning_rate={rate}", gpus=[]))
    place = runs.sweep()
    text = written(place)
    assert "what they differ in is train.learning_rate." in text and 'aria-labelledby="ablation-' not in text
    assert "the ring is lr1e-5, the baseline" in text
    assert "All answers" not in text and "GPU hours" not in text, "no GPU, no GPU hours"


def test_lines_of_configs() -> None:
    two = {
        0: config(mix__per_task="20", mix__tulu="none"),
        1: config(mix__per_task="null", mix__tulu="none"),
        2: config(mix__per_task="5", mix__tulu="none"),
        3: config(mix__per_task="5", mix__tulu="match"),
    }
    lines = lines_of(two)
    assert [(line.label, line.points) for line in lines] == [
        ("mix.tulu=none", [("5", 2), ("20", 0), ("all", 1)]),
        ("mix.tulu=match", [("5", 3)]),
    ]
    models = {
        place: config(mix__per_task=cap, model__path=path, model__chat=path[0])
        for place, (cap, path) in enumerate([("1", "a/b"), ("2", "a/b"), ("1", "c/d"), ("2", "c/d")])
    }
    assert [line.label for line in lines_of(models)] == ["model.path=a/b", "model.path=c/d"], "one key is enough"
    assert lines_of({0: config(mix__per_task="1", lr="1"), 1: config(mix__per_task="2", lr="2")}) == []
    assert [line.label for line in lines_of({0: config(mix__per_task="1"), 1: config(mix__per_task="2")})] == ["runs"]
    assert lines_of({0: {}, 1: {}}) == []
    assert varying([{"a": "1", "mix.tulu": "x"}, {"mix.tulu": "y"}]) == ["mix.tulu", "a"]
    assert flat({"a": {"b": None, "c": [1]}, "d": "x", "e": {}}) == {"a.b": "null", "a.c": "[1]", "d": "x", "e": "{}"}


def test_cost_counts_the_steps_of_all_starts(runs: Runs) -> None:
    run = runs.make("one", 0.5)
    assert cost_of(run.root) == Cost(hours=1.0, gpu_hours=2.0, tokens=3000.0), "900 s in the manifest, 1800 s of steps"
    write_jsonl(run.metrics, [{"step": 1, "tokens": 7, "seconds": float("nan")}])
    assert cost_of(run.root) == Cost(0.75, 1.5, 7.0)
    untrained = runs.make("two", 0.5, trained=False, gpus=[])
    assert cost_of(untrained.root) == Cost(0.5, None, 0.0)
    assert mean_cost([Cost(1, 2, 3), Cost(3, None, 5)]) == Cost(2, None, 4)
    assert cost_of(runs.place / "nowhere") == Cost(None, None, None)


def test_runs_that_cannot_be_compared_are_shown_with_the_reason(runs: Runs) -> None:
    runs.job("a", runs.make("a", 0.5))
    runs.job("b", runs.make("b", 0.7, "eval.parity=reference"))
    text = written(runs.sweep())
    assert "2. b: " in text and "score both by the same rules" in text and "not compared" in text


def test_a_run_whose_files_are_broken_is_told_and_the_others_are_shown(runs: Runs) -> None:
    for name in ("good", "bad", "gone", "unscored"):
        runs.job(name, runs.make(name, 0.5, f"mix.seed={len(runs.jobs)}"))
    (RunDir(Path(runs.jobs[1].run_dir)).scores).write_text("{")
    RunDir(Path(runs.jobs[2].run_dir)).root.rename(runs.place / "elsewhere")
    RunDir(Path(runs.jobs[3].run_dir)).scores.unlink()
    text = written(runs.sweep())
    assert "1 of 4 jobs are finished." in text
    assert "scores.json: not the scores of a run" in text and "is gone" in text and "has no scores yet" in text


def test_a_run_whose_cost_or_baseline_cannot_be_read_stays_on_the_page(runs: Runs) -> None:
    untrained = runs.make("untrained", 0.1, trained=False)
    for name in ("steps", "manifest", "config"):
        runs.job(name, runs.make(name, 0.5, f"mix.seed={len(runs.jobs)}", f"report.beside=[{untrained.root}]"))
    steps, manifest, config_ = (RunDir(Path(job.run_dir)) for job in runs.jobs)
    steps.metrics.write_text('{"step": 1}\n{"step"\n')
    manifest.manifest.write_text("[]")
    config_.config.write_text("a: [")
    untrained.scores.write_text("{}")
    place = runs.sweep()
    assert sweep.make_page(place) == [f"page: {place / sweep_record.PAGE}"]
    text = words(place / sweep_record.PAGE)
    assert "2 of 3 jobs are finished. 2 runs" in text
    assert f"1. steps: its cost is not known: {steps.metrics}:2: " in text
    assert f"2. manifest: its cost is not known: {manifest.manifest}: not a manifest" in text
    assert f"config name=config done 1 min 01 s {config_.config}: not a config" in text
    assert f"{untrained.root.name} unreadable – {untrained.scores}: not the scores of a run" in text


def test_seeds_that_were_asked_other_instances_are_rows_of_their_own(runs: Runs) -> None:
    for seed in (1, 2):
        run = runs.make(f"run-s{seed}", 0.5, f"seed={seed}")
        runs.job(f"run-s{seed}", run)
    for path in run.per_instance.glob("*.jsonl"):
        path.write_text(path.read_text().replace("_qa:", "_qa:other").replace("_ner:", "_ner:other"))
    text = written(runs.sweep())
    assert "2 runs. " in text and "2. run-s2: run-s1 and run-s2 share no instances" in text


def test_a_sweep_of_failures_has_a_page(runs: Runs) -> None:
    runs.job("a", RunDir(runs.place / "a"), "failed", "no disk")
    assert "0 of 1 jobs are finished. No run has scores yet." in written(runs.sweep())


def test_the_command_refuses_what_is_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sweep_page", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: no sweep has noted its jobs here")


def test_the_page_is_made_by_a_child_and_its_failure_is_said(runs: Runs) -> None:
    runs.job("a", runs.make("a", 0.5))
    place = runs.sweep()
    assert sweep.make_page(place) == [f"page: {place / sweep_record.PAGE}"]
    first = (place / sweep_record.PAGE).read_bytes()
    sweep.make_page(place)
    assert (place / sweep_record.PAGE).read_bytes() == first
    (place / sweep_record.PAGE).unlink()
    (place / sweep_record.PAGE).mkdir()
    said = sweep.make_page(place)
    assert said[0].startswith("the page of the sweep was not made: ") and sweep_record.PAGE in said[0]


def test_the_driver_does_not_load_the_page() -> None:
    code = (
        "import sys, sciriff.train; print([m for m in ('numpy', 'jinja2', 'sciriff.sweep_page') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_compare_writes_the_same_page(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    grid(runs)

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["compare", *arguments, "--resamples", "400", "--html", "out/table.html"])
        monkeypatch.chdir(tmp_path)
        assert compare.main() == 0
        assert "page: out/table.html" in capsys.readouterr().out
        return words(tmp_path / "out/table.html")

    text = run("runs/run-*", "--baseline", "runs/run-2")
    assert "5 runs against grid-per_task-20-tulu-none" in text and "table:" not in text
    assert "6 runs of 5 configurations" in text and "The baseline is grid-per_task-20-tulu-none." in text
    assert "jobs" not in text and "5. grid-per_task-20-tulu-match" in text
    assert "6. grid-per_task-20-tulu-match-s2" in run("runs/run-*", "--each")
    assert "1 run. The highest mean is 12." in run("runs/run-0")
