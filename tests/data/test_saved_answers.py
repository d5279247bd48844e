"""Answers of other tools: lm-eval's files in all their shapes, and the tree of the original code."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sciriff.config import Config, to_yaml
from sciriff.data.saved_answers import (
    SavedAnswer,
    find_samples,
    models_below,
    read_answers,
    read_predictions,
)
from sciriff.run.run_dir import RunDir
from sciriff.score import main as score
from sciriff.tasks import COLUMNS
from sciriff.train import as_one_key, options_first

NER = "biored_ner"
MUP = "mup_single_document_summarization"
REFERENCE = '{"Gene": ["a"]}'
STAMP = "2025-01-31T09-30-00.123456"


def sample(number: int, text: str = REFERENCE, *, task: str = NER, old: bool = False) -> dict[str, Any]:
    """A row as lm-eval writes it today, or as it did until 0.4.2."""
    settings = {"until": ["</s>"], "max_gen_toks": 1024}
    prompt = f"<|user|>\nprompt {number}\n<|assistant|>\n"
    return {
        "doc_id": number,
        "doc": {"input": f"prompt {number}", "output": REFERENCE, "_instance_id": f"{task}:train:{number}"},
        "target": REFERENCE,
        "arguments": [[prompt, settings]] if old else {"gen_args_0": {"arg_0": prompt, "arg_1": settings}},
        "resps": [[text]],
        "filtered_resps": [text],
        "doc_hash": "x",
    }


def write(path: Path, rows: list[dict[str, Any]], as_list: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) if as_list else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def answer_of(row: dict[str, Any], tmp_path: Path, task: str = NER) -> SavedAnswer:
    (answer,) = read_answers(write(tmp_path / "row.jsonl", [row]), task).values()
    return answer


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
def test_both_shapes_of_lm_eval(tmp_path: Path, old: bool, as_list: bool):
    path = write(tmp_path / "x.jsonl", [sample(0, "{}", old=old), sample(1, old=old)], as_list)
    first, second = read_answers(path, NER).values()
    assert (first.instance_id, first.prompt) == (f"{NER}:train:0", "prompt 0")
    assert (first.prediction, second.prediction, second.reference) == ("{}", REFERENCE, REFERENCE)
    assert second.place == f"{path}: row 2" if as_list else f"{path}:2"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"filtered_resps": None}, {"prediction": REFERENCE}),
        ({"filtered_resps": [], "resps": [["first", "second"], ["third"]]}, {"prediction": "first"}),
        ({"filtered_resps": "bare"}, {"prediction": "bare"}),
        ({"filtered_resps": [["nested"]]}, {"prediction": "nested"}),
        ({"filtered_resps": [""]}, {"prediction": ""}),
        ({"doc": {}}, {"instance_id": f"{NER}:7", "reference": REFERENCE, "prompt": "<|user|>\nprompt 7\n"}),
        ({"doc": "text"}, {"instance_id": f"{NER}:7"}),
        ({"target": "['a']"}, {"reference": REFERENCE}),
        ({"arguments": None, "doc": {"output": "{}", "_instance_id": "id"}}, {"prompt": "", "instance_id": "id"}),
    ],
)
def test_where_things_are_found(tmp_path: Path, change: dict[str, Any], expected: dict[str, str]):
    answer = answer_of(sample(7) | change, tmp_path)
    found = {name: getattr(answer, name) for name in expected}
    assert found == expected or found["prompt"].startswith(expected["prompt"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filtered_resps": [5], "resps": []}, ":1: neither filtered_resps nor resps holds a text"),
        ({"filtered_resps": {"x": "y"}, "resps": None}, ":1: neither filtered_resps nor resps holds a text"),
        ({"doc": {}, "target": ["a"]}, ":1: neither doc.output nor target is a text"),
        ({"doc": {}, "doc_id": None}, ":1: neither doc._instance_id nor doc_id says which instance this is"),
        ({"doc": {}, "doc_id": True}, ":1: neither doc._instance_id nor doc_id says which instance this is"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        answer_of(sample(7) | change, tmp_path)


def test_rows_of_several_processes_come_in_the_order_of_the_data_set(tmp_path: Path):
    path = write(tmp_path / "x.jsonl", [sample(n) for n in (0, 2, 4, 1, 3)])
    assert list(read_answers(path, NER)) == [(f"{NER}:train:{n}", 1) for n in range(5)]


def test_an_instance_twice(tmp_path: Path):
    path = write(tmp_path / "x.jsonl", [sample(0), sample(1), sample(0)])
    with pytest.raises(ValueError, match=rf":3: instance {NER}:train:0 stands here twice, first at .*:1"):
        read_answers(path, NER)


def filtered(*names: str, count: int = 2, task: str = NER) -> list[dict[str, Any]]:
    """Rows as lm-eval writes them for a task with several filters: all documents for each filter in turn."""
    return [{**sample(n, f"{name} {n}", task=task), "filter": name} for name in names for n in range(count)]


def texts(answers: dict[Any, SavedAnswer]) -> list[str]:
    return [answer.prediction for answer in answers.values()]


def test_the_first_of_several_filters_is_read_or_the_one_that_was_named(tmp_path: Path):
    path = write(tmp_path / "x.jsonl", filtered("strict-match", "flexible"))
    assert texts(read_answers(path, NER)) == ["strict-match 0", "strict-match 1"]
    assert texts(read_answers(path, NER, "flexible")) == ["flexible 0", "flexible 1"]
    write(path, [*filtered("a", "b"), *filtered("b", count=1)])
    assert texts(read_answers(path, NER, "a")) == ["a 0", "a 1"]
    with pytest.raises(ValueError, match=r":5: instance .* stands here twice, first at .*:3"):
        read_answers(path, NER, "b")
    write(path, [*filtered("a", "b"), sample(2)])
    with pytest.raises(ValueError, match=r":5: this row has no `filter`"):
        read_answers(path, NER)


def test_a_task_without_the_chosen_filter_is_read_by_its_first(tmp_path: Path):
    """But a filter that no task has is a mistake."""
    write(tmp_path / f"samples_{NER}_{STAMP}.jsonl", filtered("strict", "\x1b[31mred"))
    write(tmp_path / f"samples_{MUP}_{STAMP}.jsonl", filtered("none", task=MUP))
    first = read_predictions(tmp_path, None, False)
    assert (first[NER].taken, first[NER].filters, first[MUP].taken) == ("strict", ("strict", "\x1b[31mred"), "none")
    found = read_predictions(tmp_path, None, False, wanted_filter="\x1b[31mred")
    assert found[NER].answers[0].prediction == "\x1b[31mred 0"
    assert found[MUP].answers[0].prediction == "none 0"
    with pytest.raises(ValueError, match=r"predictions_filter=x; the filters are strict, .\[31mred, none"):
        read_predictions(tmp_path, None, False, wanted_filter="x")
    (tmp_path / f"samples_{NER}_{STAMP}.jsonl").unlink()
    write(tmp_path / f"samples_{MUP}_{STAMP}.jsonl", [sample(0, task=MUP)])
    with pytest.raises(ValueError, match=r"predictions_filter=x; these answers have no filters"):
        read_predictions(tmp_path, None, False, wanted_filter="x")


def test_the_filter_is_a_key_and_is_said(
    tmp_path: Path, composed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "in" / f"samples_{NER}_{STAMP}.jsonl", filtered("bad", "good"))
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    options = ("experiment=demo", "train=none", "name=x", f"run_dir={run.root}", f"predictions={tmp_path / 'in'}")
    score(composed(*options, "eval.resamples=0"), run)
    line = f"{NER}: answers of lm-eval's filter bad, not of good (predictions_filter=NAME takes another)"
    assert line in capsys.readouterr().out.splitlines()
    chosen = composed(*options, "predictions_filter=good", "eval.resamples=0")
    score(chosen, run)
    assert json.loads(run.scores.read_text())["tasks"][NER]["filter"] == {"taken": "good", "others": ["bad"]}
    assert "predictions_filter: good" in to_yaml(chosen)
    assert "predictions_filter" not in to_yaml(composed(*options)), "runs of earlier versions stay as they are"
    with pytest.raises(ValueError, match="predictions_filter=good chooses among lm-eval's answers"):
        composed(*options[:-1], "predictions_filter=good")
    assert as_one_key("predictions.filter=a=b") == "predictions_filter=a=b"
    assert as_one_key("predictions=filter") == "predictions=filter"


def test_options_may_stand_between_keys():
    typed = "train=none -m model=a,b --config-dir conf ~judge foo --config-dir=x seed=1"
    assert (
        " ".join(options_first(typed.split()))
        == "-m --config-dir conf --config-dir=x train=none model=a,b ~judge foo seed=1"
    )


@pytest.mark.parametrize("text", ["[{}, 5]", "[{]", "[" * 100_000])
def test_a_list_that_is_broken(tmp_path: Path, text: str):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.jsonl: "):
        read_answers(path, NER)


LAYOUTS = [
    f"samples_{NER}_{STAMP}.jsonl",
    f"samples_{NER}.jsonl",
    f"allenai__scitulu-7b/samples_{NER}_{STAMP}.jsonl",
    f"pretrained__allenai__scitulu-7b,dtype__float16_{NER}.jsonl",
    f"{NER}/allenai__scitulu-7b/samples_{NER}_{STAMP}.jsonl",
    f"{NER}/model__gpt-4_{NER}.jsonl",
    f"science_adapt/allenai__scitulu-7b/samples_{NER}_{STAMP}.jsonl",
]


@pytest.mark.parametrize("place", LAYOUTS)
def test_where_one_models_files_lie(tmp_path: Path, place: str):
    path = write(tmp_path / place, [sample(0)])
    write(path.with_name("eleuther.jsonl"), [{"results": {}}])
    write(path.with_name(f"samples_hellaswag_{STAMP}.jsonl"), [{"doc_id": 0}])
    found = read_predictions(tmp_path, None, False)
    assert list(found) == [NER]
    assert found[NER].benchmark == 100
    assert models_below(tmp_path) == []


@pytest.mark.parametrize("below", [place for place in LAYOUTS if "/" in place and not place.startswith("allenai")])
def test_models_of_the_tree(tmp_path: Path, below: str):
    for model in ("llama", "scitulu"):
        write(tmp_path / model / below, [sample(0)])
        write(tmp_path / model / below.replace(NER, "scierc_ner"), [sample(0, task="scierc_ner")])
    assert models_below(tmp_path) == ["llama", "scitulu"]
    assert {model: set(files) for model, files in find_samples(tmp_path).items()} == {
        "llama": {NER, "scierc_ner"},
        "scitulu": {NER, "scierc_ner"},
    }
    with pytest.raises(ValueError, match=r"these are answers of 2 models \(llama, scitulu\); choose one with pred"):
        read_predictions(tmp_path, None, False)
    assert set(read_predictions(tmp_path / "scitulu", None, False)) == {NER, "scierc_ner"}


def test_two_files_of_one_task(tmp_path: Path):
    write(tmp_path / f"samples_{NER}_2025-01-31T09-30-00.1.jsonl", [sample(0)])
    write(tmp_path / f"samples_{NER}_2025-02-01T09-30-00.1.jsonl", [sample(0)])
    with pytest.raises(ValueError, match=f"are both answers to {NER}; move one of them away"):
        read_predictions(tmp_path, None, False)


def test_our_rows_and_theirs_side_by_side(tmp_path: Path):
    write(tmp_path / f"samples_{NER}_{STAMP}.jsonl", [sample(0)])
    write(tmp_path / "scierc_ner.jsonl", [])
    with pytest.raises(ValueError, match=r"scierc_ner\.jsonl and files of lm-eval lie here side by side"):
        read_predictions(tmp_path, None, False)


def test_only_other_tasks(tmp_path: Path):
    write(tmp_path / f"samples_hellaswag_{STAMP}.jsonl", [{"doc_id": 0}])
    with pytest.raises(ValueError, match="there are no predictions here"):
        read_predictions(tmp_path, None, False)


def test_a_count_that_is_not_the_benchmarks_is_said(composed: Callable[..., Config], tmp_path: Path, capsys):
    write(tmp_path / "theirs" / f"samples_{NER}_{STAMP}.jsonl", [sample(0), sample(1, "{}")])
    run = RunDir(tmp_path / "run")
    score(composed("experiment=demo", f"predictions={tmp_path / 'theirs'}", "eval.resamples=0"), run)
    assert f"{NER}: 2 answers; SciRIFF's validation split has 100" in capsys.readouterr().out
    task = json.loads(run.scores.read_text())["tasks"][NER]
    assert (task["n"], task["missing"], task["benchmark"]) == (2, 0, 100)
    assert task["details"]["all_typed_r"] == 0.5


@pytest.mark.slow
def test_every_model_of_a_tree_becomes_a_run_and_a_row(cli: Callable[..., Any], tmp_path: Path):
    tree = tmp_path / "results" / "predictions"
    for model, text in (("llama", "{}"), ("scitulu", REFERENCE)):
        write(tree / model / NER / "m" / f"samples_{NER}_{STAMP}.jsonl", [sample(0, text), sample(1)])
    write(tree / "scitulu" / MUP / "m" / f"samples_{MUP}_{STAMP}.jsonl", [sample(0, "text", task=MUP)])
    command = (
        "train=none",
        "model=tiny",
        f"predictions={tree}",
        "run_dir=out",
        "log=none",
        "stages=[score]",
        "eval.resamples=0",
    )
    result = cli(*command)
    assert result.returncode == 0, result.stderr
    assert "2 models: " in result.stderr
    with (tmp_path / "out" / "tables" / "summary.tsv").open(newline="") as file:
        tasks, metrics, *models = csv.reader(file, delimiter="\t")
    assert [row[0] for row in models] == ["llama", "scitulu"]
    assert [row[tasks.index("biored")] for row in models] == ["66.67", "100.00"]
    assert metrics[tasks.index("mean")] == f"of 1 of {len(COLUMNS)}"
    with (tmp_path / "out" / "tables" / f"{MUP}.tsv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file, delimiter="\t")] == ["model", "scitulu"]
    assert json.loads((tmp_path / "out" / "llama" / "scores.json").read_text())["model"] == "llama"
    write(tree / "broken" / NER / f"samples_{NER}_{STAMP}.jsonl", [{"doc_id": 0, "resps": []}])
    result = cli(*command)
    assert result.returncode == 1
    assert "error: broken: score failed" in result.stderr
    assert "score: up to date" in result.stderr
    assert "1 of 3 models failed; the others went on" in result.stderr
