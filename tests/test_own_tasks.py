"""A task of one's own from the card of its rows to its column, through the commands that people type."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from mix.mix_rows import fitting, science, write

from sciriff import compare, config, ls, score, sweep_page
from sciriff.config import Config, EvalConfig, MixConfig, MixSourceConfig, conf_dir, load
from sciriff.config.registration import register
from sciriff.data.instances import read_instances
from sciriff.data.records import Prediction
from sciriff.driver import pipeline, preflight, stages
from sciriff.driver.composed import checked
from sciriff.driver.frozen_config import freeze
from sciriff.driver.own_tasks import with_own_tasks
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.mix.build import build_mix
from sciriff.mix.identity import recipe_of
from sciriff.mix.overlap_check import evaluation_digest
from sciriff.predict import saved_rows
from sciriff.predict.saved_rows import RequestedAnswer
from sciriff.report import __main__ as report
from sciriff.results import sweep_record
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import COLUMNS, NAMES
from sciriff.tasks.own import held_out, names_of
from sciriff.track.logged_tables import tracked_tables

OWN = {"kinds": "label_accuracy", "my_task": "list_f1"}
TOLD = "not of SciRIFF's nine tasks: kinds (label_accuracy), my_task (list_f1)"
SETTINGS = {"model": "m"}


def rows(split: str, count: int = 6) -> list[dict[str, Any]]:
    outputs = {"my_task": lambda n: json.dumps([f"method {n}", "pooling"]), "kinds": lambda n: "Uses"}
    return [
        {"input": f"{task} of paper {n}?", "output": output(n), "_instance_id": f"{task}:{split}:{n}"}
        for task, output in outputs.items()
        for n in range(count)
    ]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of rows with its card, and the test stands beside it."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation", "test"):
        write(tmp_path / "made" / f"{split}.jsonl", rows(split))
    tasks = {name: {"metric": metric, "rows": {"train": 6}} for name, metric in OWN.items()}
    (tmp_path / "made" / "card.json").write_text(json.dumps({"tasks": tasks | {"other": {"metric": None}}}))
    return tmp_path / "made"


def composed(*overrides: str) -> Config:
    """The config as the driver has it."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return checked(compose("config", list(overrides)))


def answer(folder: Path, right: dict[str, int]) -> Path:
    """A folder of answers, of which so many are right."""
    for task, count in right.items():
        known = [row for row in rows("validation") if row["_instance_id"].startswith(f"{task}:")]
        answers = [row["output"] if n < count else '["x"]' for n, row in enumerate(known)]
        write_jsonl(
            folder / f"{task}.jsonl",
            [
                Prediction(task, row["_instance_id"], row["input"], text, row["output"])
                for row, text in zip(known, answers, strict=True)
            ],
        )
    return folder


@pytest.fixture
def scored(made: Path) -> Callable[..., RunDir]:
    """`scored("name", {"my_task": 3})` is a scored run with a report."""

    def run(name: str, right: dict[str, int], *overrides: str) -> RunDir:
        answers = answer(Path("answers") / name, right)
        settings = ("train=none", "log=none", f"predictions={answers}", f"name={name}", "eval.resamples=200")
        settings_of_run = composed(*settings, f"eval.path={made}", *overrides)
        run = RunDir(Path(settings_of_run.run_dir))
        run.root.mkdir(parents=True)
        freeze(settings_of_run, run)
        score.main(load(run.config), run)
        report.main(load(run.config), run)
        return run

    return run


def test_the_whole_command(made: Path, cli, tmp_path: Path):
    answer(tmp_path / "answers", {"my_task": 3, "kinds": 6})
    command = ("train=none", "log=none", "predictions=answers", "eval.path=made", "run_dir=out", "eval.resamples=200")
    result = cli(*command, "stages=[score,report]")
    assert result.returncode == 0, result.stderr
    assert "mean of 2 of 13" in result.stdout and TOLD in result.stdout
    run = RunDir(tmp_path / "out")
    scores = json.loads(run.scores.read_text())
    assert scores["own_tasks"] == OWN
    columns = scores["summary"]["columns"]
    assert list(columns) == ["kinds/accuracy", "my_task/f1"] and all("ci95" in column for column in columns.values())
    assert (columns["kinds/accuracy"]["value"], columns["my_task/f1"]["value"]) == (1, pytest.approx(12 / 21))
    assert scores["summary"]["missing"] == list(COLUMNS)
    head, metrics, values = [line.split("\t") for line in (run.tables / "summary.tsv").read_text().splitlines()]
    assert head[-4:] == ["kinds", "my_task", "mean", "median"] and metrics[-4:-2] == ["accuracy", "f1"]
    assert values[-4:-2] == ["100.00", "57.14"] and (run.tables / "my_task.tsv").is_file()
    page = run.report.read_text().replace("<wbr>", "")
    assert 'id="task-my_task"' in page and "of 2 of 13" in page and TOLD[1:].replace("'", "&#39;") in page
    assert load(run.config).eval.own_tasks == OWN
    shutil.rmtree(made)  # the run knows its own tasks
    again = cli(*command, "stages=[score,report]")
    assert again.returncode == 0 and again.stderr.count("up to date") == 2, again.stderr
    listed = cli("out", module="sciriff.ls")
    assert "of 2 of 13" in listed.stdout


def test_an_unknown_metric_and_an_unknown_task(made: Path, cli):
    result = cli("train=none", "log=none", "predictions=answers", "eval.path=made", "eval.tasks=[my_tusk]")
    assert result.returncode == 2
    assert "eval.tasks: my_tusk is not a held-out task; did you mean 'my_task'?" in result.stderr
    card = made / "card.json"
    card.write_text(card.read_text().replace("list_f1", "list_f2"))
    for more in ("dry_run=true", "seed=2"):
        result = cli("train=none", "log=none", "eval.path=made", more)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert f"{card}: tasks.my_task.metric: 'list_f2' is not known; did you mean 'list_f1'?" in result.stderr


def test_a_config_is_settled_again_and_alone(made: Path):
    name = "name=a"
    settled = composed("experiment=demo", name, f"eval.path={made}")
    assert settled.eval.own_tasks == OWN and names_of(settled.eval.held_out) == (*NAMES, "kinds", "my_task")
    assert with_own_tasks(settled) == settled
    other = composed("experiment=demo", name)
    assert other.eval.own_tasks == {} and names_of(other.eval.held_out) == NAMES, "nothing of the job before is left"
    assert "own_tasks" not in config.to_yaml(other) and "own_tasks" not in config.as_dict(other.eval)
    typed = composed("experiment=demo", name, f"eval.path={made}", "+eval.own_tasks={my_task: bleu, more: rouge}")
    assert typed.eval.own_tasks == OWN | {"my_task": "bleu", "more": "rouge"}, "what is typed comes first"
    for override, said in (
        ("+eval.own_tasks.mine=lst_f1", "eval.own_tasks.mine=lst_f1 is not known; did you mean 'list_f1'?"),
        ("+eval.own_tasks.scierc_ner=bleu", "scierc_ner is one of SciRIFF's nine held-out tasks"),
        ("+eval.own_tasks={a.b: bleu}", "'a.b' is no name of a task"),
    ):
        with pytest.raises(UserError) as error:
            composed("experiment=demo", name, override)
        assert said in str(error.value)


def test_which_stages_depend_on_them(made: Path):
    run = RunDir(made.parent / "run")
    write_jsonl(run.predictions / "my_task.jsonl", [{}])
    path = made / "validation.jsonl"  # a file has no card
    without = composed("experiment=demo", "name=a", f"eval.path={path}", f"run_dir={run.root}")
    within = replace(without, eval=replace(without.eval, own_tasks=OWN))
    freeze(without, run)
    freeze(within, run)
    assert load(run.config).eval.own_tasks == OWN, "a task more makes no other run"
    named = {stage: stages.STAGES[stage].inputs for stage in ("mix", "predict", "score")}
    changed = {stage: pipeline.changed(of(without, run), of(within, run)) for stage, of in named.items()}
    assert changed == {"mix": ["held-out tasks"], "predict": ["settings"], "score": ["rules"]}
    assert recipe_of(without) != recipe_of(within)
    assert evaluation_digest(without.eval) != evaluation_digest(within.eval)
    other = replace(within, eval=replace(within.eval, own_tasks=OWN | {"my_task": "bleu"}))
    assert recipe_of(other) == recipe_of(within), "a mix does not depend on a metric"
    assert named["score"](other, run) != named["score"](within, run)
    assert not list(preflight.anywhere(replace(within, eval=replace(within.eval, tasks=["my_task"]))))


def test_compared_runs_show_the_columns_that_one_of_them_has(
    scored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: Path
):
    one = scored("one", {"my_task": 2, "kinds": 6})
    two = scored("two", {"my_task": 6, "kinds": 6}, f"report.beside=[{one.root}]")
    three = scored("three", {"my_task": 6, "kinds": 6}, "+eval.own_tasks.my_task=rouge")
    shutil.rmtree(made)
    shutil.rmtree("answers")

    def printed(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["compare", "--resamples", "200", *map(str, arguments)])
        capsys.readouterr()
        assert compare.main() == 0
        return capsys.readouterr().out

    text = printed(one.root, two.root, "--latex", "table.tex", "--html", "page.html")
    [line] = [line for line in text.splitlines() if line.startswith("my_task/f1 ")]
    assert line.split()[1:5] == ["6", "40.00", "100.00", "+60.00"]
    assert "mean of 2 of 13" in text
    table = Path("table.tex").read_text()
    assert "SciRIFF and kinds and my\\_task, 0 to 100" in table and "of 2 of 13" in table
    assert "my_task f1" in Path("page.html").read_text().replace("<wbr>", "")
    beside = two.report.read_text().replace("<wbr>", "")
    assert "(mean of 2 of 13 columns)" in beside and "my_task" in beside
    assert "my_task: the runs were scored by different metrics" in printed(one.root, three.root)
    job = sweep_record.Job(0, "one", str(one.root), "seed=1", status="done")
    sweep_record.write(Path("runs/sweep-x"), job)
    sweep_page.write(Path("runs/sweep-x"), 200)
    assert "my_task f1" in Path("runs/sweep-x", sweep_record.PAGE).read_text().replace("<wbr>", "")
    assert ls.listed(one.root).mean.endswith("of 2 of 13")


def test_a_run_without_them_is_compared_on_what_both_have(scored, monkeypatch, capsys, made: Path):
    one = scored("one", {"my_task": 2, "kinds": 6})
    answer(Path("answers/two"), {})
    reference = json.dumps({"Gene": ["p53"]})
    for name, extra in (("two", []), ("four", ["kinds"])):
        folder = answer(Path("more") / name, dict.fromkeys(extra, 6))
        write_jsonl(folder / "biored_ner.jsonl", [Prediction("biored_ner", f"b:{n}", "", "", reference) for n in "ab"])
        path = [f"eval.path={made}"] if extra else []
        settings = composed("train=none", "log=none", f"predictions={folder}", f"name={name}", *path)
        run = RunDir(Path(settings.run_dir))
        run.root.mkdir(parents=True)
        freeze(settings, run)
        score.main(settings, run)
    assert "own_tasks" not in json.loads(RunDir(Path("runs/two")).scores.read_text())
    monkeypatch.setattr("sys.argv", ["compare", "runs/four", "runs/two", "--resamples", "200"])
    assert compare.main() == 0
    text = capsys.readouterr().out
    assert "kinds: not in two" in text and "biored_ner/f1" in text
    assert ls.listed(Path("runs/two")).mean.endswith("of 1 of 11")
    assert ls.listed(Path("runs/four")).mean.endswith("of 2 of 13")
    assert ls.listed(one.root).mean.endswith("of 2 of 13")


@pytest.mark.shows("R12")
def test_scores_of_somebody_else_with_a_metric_that_is_none(scored, capsys: pytest.CaptureFixture[str], monkeypatch):
    run = scored("one", {"my_task": 2, "kinds": 6})
    run.scores.write_text(run.scores.read_text().replace('"my_task": "list_f1"', '"../x": "list_f1"'))
    monkeypatch.setattr("sys.argv", ["compare", str(run.root)])
    assert compare.main() == 2
    assert f"{run.scores}: own_tasks: '../x' is no name of a task" in capsys.readouterr().err


def test_no_mix_has_their_rows(made: Path, tmp_path: Path):
    others = [science("covid_qa", n) for n in range(5)]
    write(tmp_path / "science" / "train.jsonl", [*others, *rows("train")])
    sources = {"sciriff": MixSourceConfig(path=str(tmp_path / "science"))}
    mix = MixConfig(name="test", sources=sources, tulu="none", context_window=None, validation_rows=3)
    tasks = held_out(OWN)

    def datasets(settings: MixConfig) -> set[str]:
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        build_mix(settings, folder, fitting, None, tasks)
        lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
        return {json.loads(line)["dataset"] for line in lines}

    assert datasets(mix) == {"science.covid_qa"}
    assert datasets(replace(mix, include_heldout=True)) == {"science.covid_qa", "science.my_task", "science.kinds"}
    with pytest.raises(UserError, match=r"mix\.tasks: my_task is a held-out task; mix\.include_heldout=true"):
        datasets(replace(mix, tasks=["my_task"]))


def test_their_instances_are_asked_and_their_answers_kept_apart(made: Path, tmp_path: Path):
    evaluation = EvalConfig(path=str(made), own_tasks=OWN)
    assert {task: len(found) for task, found in read_instances(evaluation).items()} == {"kinds": 6, "my_task": 6}
    assert list(read_instances(replace(evaluation, tasks=["my_task"]))) == ["my_task"]
    with pytest.raises(UserError, match="has no instances of bioasq"):
        read_instances(replace(evaluation, own_tasks={}))
    run = RunDir(tmp_path / "run")
    asked = {(f"{t}:v:0", 1): RequestedAnswer(t, "d", 9, "reference") for t in ("my_task", "scierc_ner")}
    saved_rows.begin(run, asked, SETTINGS)
    made_rows = [Prediction(a.task, key[0], "p", "x", "r", "stop", 3, 2, prompt_digest="d") for key, a in asked.items()]
    saved_rows.append(run, made_rows)
    saved_rows.keep_only(run, asked, saved_rows.begin(run, asked, SETTINGS).rows)
    assert (run.predictions / "my_task.jsonl").is_file()
    [table] = tracked_tables(run)
    assert [row[0] for row in table.rows] == ["scierc_ner", "my_task"]
    fewer = {key: one for key, one in asked.items() if one.task == "scierc_ner"}
    saved_rows.keep_only(run, fewer, saved_rows.begin(run, fewer, SETTINGS).rows)
    assert not (run.predictions / "my_task.jsonl").exists(), "no file of a task that is none any more is in the way"
    assert (run.not_asked / "my_task.jsonl").is_file()
    assert len(saved_rows.begin(run, asked, SETTINGS).rows) == 2, "and when it is one again, nothing is asked twice"


def test_a_run_that_makes_its_rows_knows_its_tasks_then(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The stage that makes rows is one that copies a folder here."""
    run = RunDir(tmp_path / "runs" / "a")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "my_task.yaml").write_text("")
    given = (f"recreate.out={run.root}/recreated", "eval.path=${recreate.out}", "recreate.templates=templates")
    settings = composed("train=none", "log=none", "name=a", *given, "stages=[recreate,score]", "eval.tasks=[my_task]")
    assert settings.eval.own_tasks == {} and not list(preflight.anywhere(settings))
    copies = stages.Stage(
        "recreate",
        lambda config, run: {},
        ("recreated",),
        lambda config, run, nodes: (["cp", "-r", str(made), str(run.root / "recreated")], {}),
    )
    monkeypatch.setitem(pipeline.STAGES, "recreate", copies)
    answer(tmp_path / "answers", {"my_task": 3})
    settings.predictions = str(tmp_path / "answers")
    pipeline.run(settings, "again", ProgressSinceStart())
    assert load(run.config).eval.own_tasks == OWN
    assert "my_task/f1" in capfd.readouterr().out
    card = run.root / "recreated" / "card.json"
    after = replace(settings, eval=replace(settings.eval, own_tasks=OWN | {"more": "bleu"}))
    card.write_text(json.dumps({"tasks": {"my_task": {"metric": "rouge"}}}))
    assert with_own_tasks(after, OWN).eval.own_tasks == {"my_task": "rouge", "more": "bleu"}
