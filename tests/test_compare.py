"""Finished runs beside each other, through the command line, on small runs made up here."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from general_runs import write_general

from sciriff import config, score
from sciriff.compare import main
from sciriff.config import Config
from sciriff.data.records import Judgement, Prediction
from sciriff.results.latex_table import escaped
from sciriff.run.json_lines import read_jsonl, write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import COLUMNS

NER, LIST, TABLE, MUP = "biored_ner", "bioasq_list_qa", "discomat_te", "mup_single_document_summarization"
RIGHT = {
    NER: [json.dumps({"Gene": [f"a {n}", "b"]}) for n in range(30)],
    LIST: [json.dumps([f"a {n}", "b"]) for n in range(24)],
    TABLE: [f"glass {n} has 44 mol% of SiO2 and some more" for n in range(12)],
}
WRONG = {NER: '{"Gene": ["x"]}', LIST: '["x"]', TABLE: "glass 3 has no such thing in it at all"}

Answers = dict[str, Sequence[bool]]
"""Task -> whether each answer, in turn, is right."""


def good(share: float) -> Answers:
    """The first so many answers to each task right."""
    return {task: [n < share * len(texts) for n in range(len(texts))] for task, texts in RIGHT.items()}


@pytest.fixture
def make(tmp_path: Path, composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """`make("name", answers, "seed=2")` is a scored run in runs/; the test stands beside it."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, answers: Answers, *overrides: str, first: int = 0) -> RunDir:
        made = RunDir(Path("runs") / name)
        for task, rights in answers.items():
            rows = []
            for n, right in enumerate(rights):
                text = RIGHT[task][n] if right else WRONG[task]
                rows.append(Prediction(task, f"{task}:{first + n}", "", text, RIGHT[task][n]))
            write_jsonl(made.predictions / f"{task}.jsonl", rows)
        settings = composed(
            "experiment=demo",
            "train=none",
            f"name={name}",
            f"run_dir={made.root.absolute()}",
            "eval.resamples=0",
            *overrides,
        )
        made.config.write_text(config.to_yaml(settings))
        score.main(settings, made)
        return made

    return run


@pytest.fixture
def comparing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Run the command and give what it printed and what it wrote as JSON."""

    def run(*arguments: str, status: int = 0) -> tuple[str, dict[str, Any]]:
        monkeypatch.setattr("sys.argv", ["compare", *arguments, "--json", "numbers.json", "--resamples", "2000"])
        capsys.readouterr()
        assert main() == status
        printed = capsys.readouterr()
        if status:
            assert printed.err.startswith("error: ")
            assert len(printed.err.splitlines()) == 1
            return printed.err, {}
        return printed.out + printed.err, json.loads(Path("numbers.json").read_text())

    return run


def test_two_runs(make, comparing):
    make("before", good(0.3))
    make("after", good(0.3) | {NER: [True] * 30, LIST: [n < 8 for n in range(24)]})
    printed, numbers = comparing("before", "runs/after")
    assert numbers["baseline"]["name"] == "before"
    [found] = numbers["comparisons"]
    listed, ner, table = found["columns"].values()
    # Of 30 answers with two entities each 9 are right; a wrong one predicts a single entity.
    assert ner["baseline"]["mean"] == pytest.approx(2 * 18 / (18 + 21 + 60))
    assert ner["value"]["mean"] == 1
    assert ner["difference"] == pytest.approx(1 - 36 / 99)
    assert ner["ci95"][0] < ner["difference"] < ner["ci95"][1]
    assert ner["p"] == 1 / 2001
    assert ner["p_holm"] == pytest.approx(3 / 2001)
    assert (ner["verdict"], ner["exact"], ner["n"]) == ("higher", False, 30)
    assert (listed["difference"], listed["p"], listed["verdict"]) == (0, 1, "within noise")
    assert (table["difference"], table["p"], table["ci95"], table["detectable"]) == (0, 1, [0, 0], None)
    mean = found["mean"]
    assert mean["name"] == f"mean of 3 of {len(COLUMNS)}"
    assert mean["difference"] == pytest.approx(ner["difference"] / 3)
    assert (mean["n"], mean["p_holm"]) == (66, None)
    assert "biored_ner/f1" in printed
    assert "36.36  100.00      +63.64" in printed
    assert "within noise (p after Holm's correction is 0.05 or more): 2 of 3 differences" in printed


def test_a_run_and_its_copy(make, comparing):
    run = make("one", good(0.5))
    shutil.copytree(run.root, "runs/copy")
    printed, numbers = comparing("runs")
    assert [numbers["baseline"]["name"], numbers["comparisons"][0]["name"]] == ["runs/copy", "runs/one"]
    for row in [*numbers["comparisons"][0]["columns"].values(), numbers["comparisons"][0]["mean"]]:
        assert (row["difference"], row["p"], row["verdict"], row["detectable"]) == (0, 1, "within noise", None)
        assert row["ci95"] == [0, 0]
    assert printed.count("[0.00, 0.00]") == 4


def test_thoughts_of_one_side_alone_are_said(make, comparing):
    plain, thinking = make("plain", good(0.5)), make("thinking", good(0.5))
    for path in thinking.predictions.glob("*.jsonl"):
        rows = [replace(row, thought="Hm.", thought_tokens=2) for row in read_jsonl(path, Prediction)]
        write_jsonl(path, rows)
    score.main(config.load(thinking.config), thinking)
    note = "thoughts before the answers: in thinking alone"
    for order in ((plain, thinking), (thinking, plain)):
        assert note in comparing(*(str(run.root) for run in order))[0].splitlines()
    assert "thoughts" not in comparing("plain", str(make("other", good(0.2)).root))[0]


def test_few_differences_are_tested_exactly(make, comparing):
    make("one", {LIST: [True] * 20 + [False] * 4})
    make("two", {LIST: [True] * 23 + [False]})
    _, numbers = comparing("one", "two")
    [column] = numbers["comparisons"][0]["columns"].values()
    assert (column["p"], column["exact"]) == (2 / 8, True)
    assert numbers["comparisons"][0]["mean"] is None


def test_the_order_of_rows_and_of_runs_does_not_matter(make, comparing):
    make("one", good(0.5))
    two = make("two", good(0.7))
    make("three", good(0.2), "model=tiny", "eval.max_new_tokens=5")
    first, numbers = comparing("one", "two", "three")
    for path in two.per_instance.iterdir():
        lines = path.read_text().splitlines()
        path.write_text("\n".join(reversed(lines)) + "\n")
    again, same = comparing("one", "two", "three")
    assert (again, same) == (first, numbers)
    _, other = comparing("one", "three", "two")
    assert other["comparisons"] == numbers["comparisons"][::-1]
    _, back = comparing("two", "one")
    forth = numbers["comparisons"][0]["columns"]
    for name, row in back["comparisons"][0]["columns"].items():
        assert row["difference"] == pytest.approx(-forth[name]["difference"])
        assert row["ci95"] == pytest.approx([-limit for limit in reversed(forth[name]["ci95"])])
        assert row["p"] == pytest.approx(forth[name]["p"], abs=0.02)


def test_seeds_are_pooled(make, comparing):
    for seed, share in ((1, 0.2), (2, 0.3), (3, 0.4)):
        make(f"small-s{seed}", good(share), f"seed={seed}")
    for seed in (1, 2):
        make(f"large-s{seed}", good(0.9), f"seed={seed}", "eval.max_new_tokens=77")
    printed, numbers = comparing("small*", "large*")
    assert "baseline: small (3 seeds)" in printed
    assert [run["seed"] for run in numbers["baseline"]["runs"]] == [1, 2, 3]
    [large] = numbers["comparisons"]
    assert large["name"] == "large (2 seeds)"
    row = large["columns"]["biored_ner/f1"]
    each = [4 * right / (30 + right + 60) for right in (6, 9, 12)]
    assert row["baseline"]["mean"] == pytest.approx(sum(each) / 3)
    assert row["baseline"]["sd"] == pytest.approx((sum((v - sum(each) / 3) ** 2 for v in each) / 2) ** 0.5)
    assert row["value"] == {"mean": pytest.approx(4 * 27 / 117), "sd": 0, "runs": 2, "sd_over_samples": None}
    assert row["verdict"] == "higher"
    assert "±" in printed
    _, apart = comparing("small*", "large*", "--each")
    assert [found["name"] for found in apart["comparisons"]] == ["small-s2", "small-s3", "large-s1", "large-s2"]
    printed, alone = comparing("small*")
    assert alone["comparisons"] == []
    assert alone["baseline"]["columns"]["biored_ner/f1"]["value"] == row["baseline"]
    assert "small (3 seeds): mean ± standard deviation" in printed
    assert f"mean of 3 of {len(COLUMNS)}" in printed


def test_a_difference_that_seeds_explain(make, comparing):
    for seed, share in ((1, 0.1), (2, 0.9)):
        make(f"wild-s{seed}", good(share), f"seed={seed}")
    make("calm", good(0.1) | {NER: [True] * 30}, "eval.max_new_tokens=77")
    printed, numbers = comparing("wild*", "calm")
    row = numbers["comparisons"][0]["columns"]["biored_ner/f1"]
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "within seed noise"
    assert "within seed noise: at most 2 standard errors over the seeds" in printed


def test_the_baseline_can_be_named(make, comparing):
    make("a", good(0.2))
    make("b", good(0.4), "eval.max_new_tokens=77")
    _, numbers = comparing("runs", "--baseline", "b")
    assert (numbers["baseline"]["name"], [c["name"] for c in numbers["comparisons"]]) == ("b", ["a"])
    message, _ = comparing("a", "--baseline", "runs", status=2)
    assert "--baseline runs names 2 runs" in message


def test_only_some_instances_are_shared(make, comparing):
    make("one", {NER: [True] * 20, LIST: [True] * 24})
    make("two", {NER: [True, False] * 10, TABLE: [True] * 12}, first=15)
    _, numbers = comparing("one", "two")
    [found] = numbers["comparisons"]
    assert found["columns"]["biored_ner/f1"]["n"] == 5
    *notes, rough = found["notes"]
    assert rough.startswith("biored_ner/f1: 95 % interval: fewer than 5 answers")
    assert notes == [
        "bioasq_list_qa: not in two",
        "biored_ner: shared instances: only 5 of 20",
        "biored_ner: the runs were given different references for 5 of the 5 instances",
        "discomat_te: not in one",
    ]


def test_nothing_is_detectable_where_no_score_varies(make, comparing):
    make("one", {NER: [False] * 20})
    make("two", {NER: [True] * 20})
    text, numbers = comparing("one", "two")
    found = numbers["comparisons"][0]["columns"]["biored_ner/f1"]
    assert found["difference"] == 1 and found["p"] < 0.001 and found["detectable"] is None, text


def test_nothing_is_shared(make, comparing):
    make("one", {NER: [True] * 5})
    make("two", {NER: [True] * 5}, first=5)
    message, _ = comparing("one", "two", status=2)
    assert "one and two share no instances" in message


def test_a_judge_is_compared_where_it_rated_both(make, comparing, composed: Callable[..., Config]):
    runs = [make(name, good(0.5), *overrides) for name, *overrides in (("one",), ("two", "eval.max_new_tokens=7"))]
    for run, judge in zip(runs, ("model-a", "model-b"), strict=True):
        write_jsonl(run.predictions / f"{MUP}.jsonl", [Prediction(MUP, f"m{n}", "", "text", "text") for n in range(9)])
        ratings = [Judgement(f"m{n}", judge, "digest", f"Decision: {n % 5 + 1}", n % 5 + 1, "ok") for n in range(9)]
        write_jsonl(run.judgements / f"{MUP}.jsonl", ratings)
        score.main(config.load(run.config), run)
    _, numbers = comparing("one", "two")
    [found] = numbers["comparisons"]
    column = f"{MUP}/lm_judge_reference"
    assert (found["columns"][column]["n"], found["columns"][column]["difference"]) == (9, 0)
    assert found["notes"][0] == f"{column}: judged by model-a and by model-b"
    (runs[1].judgements / f"{MUP}.jsonl").unlink()
    score.main(config.load(runs[1].config), runs[1])
    _, numbers = comparing("one", "two")
    assert column not in numbers["comparisons"][0]["columns"]
    assert numbers["comparisons"][0]["notes"][0] == f"{column}: not judged in every run"


def test_what_is_refused(make, comparing):
    one = make("one", good(0.5))
    make("parity", good(0.5), "eval.parity=reference")
    assert "there is only one run here" in comparing("one", status=2)[0]
    assert "on: no run is found here" in comparing("on", "one", status=2)[0]
    assert "did you mean 'parity'" in comparing("one", "party", status=2)[0]
    assert "eval.parity=none and runs/parity with eval.parity=reference" in comparing("one", "parity", status=2)[0]
    rows = (one.per_instance / f"{NER}.jsonl").read_text().splitlines(keepends=True)
    (one.per_instance / f"{NER}.jsonl").write_text("".join(rows[1:]))
    assert "has 29 answers and scores.json 30" in comparing("one", "parity", status=2)[0]
    (one.per_instance / f"{NER}.jsonl").write_text(rows[0].replace('"typed_correct": 2', '"typed_correct": NaN'))
    assert f"{NER}.jsonl:1: not the numbers of an answer" in comparing("one", "parity", status=2)[0]
    (one.per_instance / f"{NER}.jsonl").write_text(rows[0] * 2)
    assert f"{NER}.jsonl:2: instance biored_ner:0 stands here twice" in comparing("one", "parity", status=2)[0]
    (one.per_instance / f"{NER}.jsonl").unlink()
    assert "`python -m sciriff.score runs/one` makes it" in comparing("one", "parity", status=2)[0]
    one.scores.write_text("[]")
    assert "scores.json: not the scores of a run" in comparing("one", "parity", status=2)[0]
    one.scores.unlink()
    assert "runs/one: this run has no scores yet" in comparing("one", "parity", status=2)[0]


def test_unfinished_runs_in_a_folder_are_passed_by(make, comparing):
    make("one", good(0.5))
    make("two", good(0.4), "seed=5", "eval.max_new_tokens=7")
    make("three", good(0.4)).scores.unlink()
    printed, numbers = comparing("runs")
    assert "left out, without scores yet: runs/three" in printed
    assert len(numbers["comparisons"]) == 1


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_compared(make, comparing):
    _, two, three, four = (make(name, good(share)) for name, share in zip("abcd", (0.5, 0.4, 0.3, 0.2), strict=True))
    two.scores.write_text("{")
    three.config.write_text("a: [")
    four.metrics.write_text("{")
    printed, numbers = comparing("runs", "--html", "page.html")
    assert [row["name"] for row in numbers["comparisons"]] == ["d"]
    assert f"left out, {two.scores}: not the scores" in printed and f"left out, {three.config}: not a conf" in printed
    page = Path("page.html").read_text()
    assert "<title>d against a: runs compared on SciRIFF</title>" in page and "<h1>d against a</h1>" in page
    assert f"{two.scores}: not the scores" in page and f"{three.config}: not a config" in page
    assert f"its cost is not known: {four.metrics}:1: " in page
    assert "error" in comparing("a", "d", "--baseline", "b", status=2)[0], "another baseline is not what was asked for"


def test_runs_without_a_config(make, comparing):
    for name in ("one", "two"):
        make(name, good(0.5)).config.unlink()
    _, numbers = comparing("one", "two")
    assert len(numbers["comparisons"]) == 1


def cells(text: str) -> list[list[str]]:
    """The rows of a LaTeX table."""
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r" \\")]
    return [[cell.strip() for cell in line.removesuffix(r" \\").split(" & ")] for line in lines]


def rescored(run: RunDir, name: str) -> None:
    """Score a run again under another name, with intervals."""
    settings = config.load(run.config)
    settings = replace(settings, name=name, eval=replace(settings.eval, resamples=200))
    run.config.write_text(config.to_yaml(settings))
    score.main(settings, run)


def test_a_latex_table_of_one_run(make, monkeypatch, capsys):
    run = make("mine", good(0.5))
    rescored(run, "my_run & 100%")
    monkeypatch.setattr("sys.argv", ["compare", str(run.root), "--latex", "paper/table.tex"])
    assert main() == 0
    assert "LaTeX: paper/table.tex" in capsys.readouterr().out
    text = Path("paper/table.tex").read_text()
    tasks, metrics, values, intervals = cells(text)
    assert tasks[:2] == ["", r"\multicolumn{1}{c}{bioasq}"]
    assert tasks[7] == r"\multicolumn{2}{c}{qasper}"
    assert metrics[6:9] == [r"lm\_judge\_reference", r"lm\_judge\_answer", r"f1\_evidence"]
    assert metrics[-2:] == [f"of 3 of {len(COLUMNS)}"] * 2
    assert len(metrics) == len(values) == len(intervals) == len(COLUMNS) + 3
    assert values[0] == r"my\_run \& 100\%"
    summary = json.loads(run.scores.read_text())["summary"]
    assert values[2] == f"{100 * summary['columns'][f'{NER}/f1']['value']:.1f}"
    low, high = summary["columns"][f"{NER}/f1"]["ci95"]
    assert intervals[2] == rf"{{\scriptsize [{100 * low:.1f}, {100 * high:.1f}]}}"
    assert (values[4], intervals[4]) == ("--", "")
    assert values[-2] == f"{100 * summary['mean']:.1f}"
    assert intervals[-2].startswith(r"{\scriptsize [")
    assert text.count("{") == text.count("}")
    assert r"95\,\% intervals over instances" in text
    assert "differs from" not in text


def test_a_latex_table_marks_what_differs(make, comparing):
    make("before", good(0.3))
    make("after", good(0.3) | {NER: [True] * 30})
    make("fewer", {NER: [True] * 30}, "eval.max_new_tokens=7")
    comparing("before", "after", "fewer", "--latex", "table.tex")
    text = Path("table.tex").read_text()
    before, after, fewer = cells(text)[2:]
    assert before[0] == rf"before {{\scriptsize (mean of 3 of {len(COLUMNS)})}}"
    assert fewer[0] == rf"fewer {{\scriptsize (mean of 1 of {len(COLUMNS)})}}"
    assert (before[2], after[2], fewer[2]) == ("36.4", "100.0$^{*}$", "100.0$^{*}$")
    assert after[-2].endswith("$^{*}$")
    assert not after[1].endswith("$^{*}$")
    assert (fewer[1], fewer[-2]) == ("--", "100.0")
    assert cells(text)[1][-2] == ""
    assert "% fewer: bioasq_list_qa: not in fewer" in text
    assert "$^{*}$: differs from before" in text


def test_a_latex_table_of_seeds(make, comparing):
    for seed, share in ((1, 0.3), (2, 0.5)):
        make(f"mine-s{seed}", good(share), f"seed={seed}")
    comparing("mine-s1", "mine-s2", "--latex", "table.tex")
    text = Path("table.tex").read_text()
    [row] = cells(text)[2:]
    assert row[0] == "mine (2 seeds)"
    assert row[2].startswith("46.8") and r"{\scriptsize $\pm$ " in row[2]
    assert "standard deviation over seeds" in text
    assert "bootstrap" not in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (r"a\b~c^d", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d"),
        ("50%_#{x}$&", r"50\%\_\#\{x\}\$\&"),
        ("two\nlines <s>", r"two lines \textless{}s\textgreater{}"),
    ],
)
def test_names_are_escaped(name: str, expected: str):
    assert escaped(name) == expected


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_takes_the_table(make, comparing):
    rescored(make("odd", good(0.3)), r"odd \\ name_^~ {x} <s>|\"q\" 100% $1 #2 & more")
    rescored(make("plain", good(0.9), "eval.max_new_tokens=7"), "plain")
    comparing("runs", "--latex", "table.tex")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    page = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table.tex}}\end{{document}}"
    Path("page.tex").write_text(page)
    made = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"], capture_output=True)
    assert made.returncode == 0, made.stdout.decode(errors="replace")[-2000:]


GENERAL = "general.tasks=[mmlu,gsm8k_cot]"
"""Any tasks: what they scored is written by hand."""


def with_general(run: RunDir, right: int, wrong: int = 0, **others: Any) -> RunDir:
    """Give a run general tasks with a hundred documents each, of which those from `wrong` to before `right` are right,
    and score it again."""
    values = [int(wrong <= n < right) for n in range(100)]
    write_general(run, {"mmlu": {"mmlu_a": values[:50], "mmlu_b": values[50:]}, "gsm8k_cot": values}, **others)
    score.main(config.load(run.config), run)
    return run


@pytest.fixture
def make_general(make) -> Callable[..., RunDir]:
    """`make_general("name", answers, "seed=2")` is a run that has general tasks but has not scored them yet."""
    return lambda name, *more: make(name, *more, GENERAL, "allow_missing=true")


def test_general_tasks_are_compared_beside_the_columns(make, make_general, comparing):
    make("plain", good(0.5))
    with_general(make_general("before", good(0.3), "eval.max_new_tokens=7"), 60)
    with_general(make_general("after", good(0.7), "eval.max_new_tokens=9"), 30, 2)
    printed, numbers = comparing("before", "after", "plain", "--latex", "table.tex")
    after, plain = numbers["comparisons"]
    assert (plain["general"], plain["notes"]) == (None, ["general tasks: not in plain"])
    general = after["general"]
    assert list(general["tasks"]) == ["mmlu", "gsm8k_cot"]
    row = general["tasks"]["gsm8k_cot"]
    assert (row["baseline"]["mean"], row["value"]["mean"], row["lost"], row["won"]) == (0.6, 0.28, 32, 0)
    assert (row["difference"], row["verdict"]) == (pytest.approx(-0.32), "lower")
    assert (row["p"], row["p_holm"]) == (1 / 2001, pytest.approx(2 / 2001))
    assert (general["mean"]["name"], general["mean"]["difference"]) == ("mean of 2 of 2", pytest.approx(-0.32))
    block = printed[printed.index("\ngeneral task ") + 1 :].splitlines()
    assert block[1] == "after"
    assert block[2].split()[:5] == ["mmlu", "100", "60.00", "28.00", "-32.00"]
    assert block[2].split()[-3:] == ["32", "0", "lower"]
    assert block[4].split()[:6] == ["mean", "of", "2", "of", "2", "200"]
    assert "within noise: 0 of 2 differences of general tasks" in printed
    tasks, metrics, *rows = cells(Path("table.tex").read_text())
    assert tasks[-3:] == ["mmlu", r"gsm8k\_cot", "general mean"]
    assert metrics[-3:] == ["acc", "acc", ""]
    values = {row[0].split()[0]: row[-3:] for row in rows if row[0]}
    assert values == {"before": ["60.0"] * 3, "after": ["28.0$^{*}$"] * 3, "plain": ["--"] * 3}
    assert len({len(row) for row in (metrics, *rows)}) == 1
    assert "general tasks (quick, lm-eval 0.4.13)" in Path("table.tex").read_text()


def test_general_tasks_of_seeds(make_general, comparing):
    for seed, right in ((1, 40), (2, 50)):
        with_general(make_general(f"mine-s{seed}", good(0.3), f"seed={seed}"), right)
    with_general(make_general("other", good(0.3), "eval.max_new_tokens=7"), 90)
    printed, numbers = comparing("mine*", "other", "--latex", "table.tex")
    row = numbers["comparisons"][0]["general"]["tasks"]["mmlu"]
    assert row["baseline"] == {"mean": 0.45, "sd": pytest.approx(0.05 * 2**0.5), "runs": 2, "sd_over_samples": None}
    assert (row["value"]["mean"], row["lost"], row["won"]) == (0.9, 0, 50), "of these 10 are right in one seed"
    assert "45.00 ± 7.07" in printed
    assert r"45.0 {\scriptsize $\pm$ 7.1}" in Path("table.tex").read_text()
    printed, alone = comparing("mine*")
    assert alone["baseline"]["general"]["tasks"][0]["value"]["mean"] == 0.45
    assert alone["baseline"]["general"]["mean"]["name"] == "mean of 2 of 2"
    assert "general task" in printed


def test_general_tasks_that_are_not_those_of_the_scores(make, make_general, comparing):
    make("one", good(0.5))
    run = with_general(make_general("two", good(0.3)), 50)
    write_general(run, {"mmlu": [1, 0]})
    assert "scores.json: the general tasks are others than those in" in comparing("two", "one", status=2)[0]
    run.general_settings.unlink()
    assert "settings.json does not exist, but scores.json has general tasks" in comparing("two", "one", status=2)[0]
