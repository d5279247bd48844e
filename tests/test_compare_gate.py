"""`compare --fail-if RULE`: exit status 3 and one line where a run breaks a rule or a rule cannot be checked."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_compare import LIST, NER, TABLE, good, make, make_general, with_general  # noqa: F401

from sciriff import compare
from sciriff.compare import main
from sciriff.results.difference import Difference
from sciriff.results.gate import Broken, read_rule, sentence
from sciriff.results.seeds import Value
from sciriff.run.user_error import UserError


@pytest.fixture
def gated(monkeypatch, capsys):
    """`gated(status, runs, *rules)` runs the command, checks its exit status and gives its last line and its JSON."""

    def run(status: int, runs: list[str], *rules: str) -> tuple[str, dict[str, Any]]:
        options = [part for rule in rules for part in ("--fail-if", rule)]
        monkeypatch.setattr("sys.argv", ["compare", *runs, *options, "--json", "n.json", "--resamples", "2000"])
        Path("n.json").unlink(missing_ok=True)
        capsys.readouterr()
        assert main() == status
        printed = capsys.readouterr()
        lines = (printed.err if status else printed.out).splitlines()
        return lines[-1], json.loads(Path("n.json").read_text()) if Path("n.json").exists() else {}

    return run


@pytest.fixture
def two(make):  # noqa: F811
    make("before", good(0.5))
    make("after", good(0.5) | {NER: [n < 5 for n in range(30)], LIST: [n < 11 for n in range(24)]})
    return ["before", "after"]


def test_a_broken_rule_ends_with_status_3_and_its_numbers(two, gated):
    for rule, named in (
        ("mean<-1", "mean of 3 of 11 -"),
        ("mean < -1.5", "mean of 3 of 11 -"),
        ("mean lower", "mean of 3 of 11 -"),
        ("biored_ner/f1<-2", "biored_ner/f1 -"),
        ("any lower", "biored_ner/f1 -"),
        ("any<-.5", "biored_ner/f1 -"),
    ):
        line, numbers = gated(3, two, rule)
        assert line.startswith(f"--fail-if: {rule!r}: after: ") and named in line
        assert {row["rule"] for row in numbers["broken_rules"]} == {rule}
        found = numbers["comparisons"][0]
        row = found["mean"] if rule.startswith("mean") else found["columns"]["biored_ner/f1"]
        assert f"{100 * row['difference']:.2f}" in line and f"{100 * row['value']['mean']:.2f}" in line


def test_rules_that_hold(two, gated):
    rules = ["mean<-50", "mean>0", "any higher", "bioasq_list_qa/f1 lower", "discomat_te/bleu<0", "any>1", "any<-90"]
    line, numbers = gated(0, two, *rules)
    assert line == "--fail-if: 7 rules hold" and gated(0, two, "mean<-50")[0] == "--fail-if: 1 rule holds"
    assert numbers["broken_rules"] == []
    assert "broken_rules" not in gated(0, two)[1]


def test_any_names_each_column_and_several_rules_make_one_line(two, gated):
    line, numbers = gated(3, two, "any<-1", "mean<-1", "mean>90")
    assert [(row["rule"], row["column"]) for row in numbers["broken_rules"]] == [
        ("any<-1", "bioasq_list_qa/f1"),
        ("any<-1", "biored_ner/f1"),
        ("mean<-1", "mean of 3 of 11"),
    ]
    assert line.count("'any<-1'") == 1 and "bioasq_list_qa/f1 -" in line and "biored_ner/f1 -" in line


def test_at_most_three_breaks_of_a_rule_are_named():
    rule = read_rule("any lower")
    found = [Broken(rule, run, f"column {n} fell") for run in ("after", "later") for n in (1, 2)]
    assert sentence(found[:2]) == "'any lower': after: column 1 fell, column 2 fell"
    assert sentence(found) == "'any lower': after: column 1 fell, column 2 fell; later: column 1 fell and 1 more"


def test_a_difference_of_exactly_the_limit_keeps_the_rule():
    def row(after: float) -> Difference:
        return Difference("f1", 9, Value(0.58, None, 1), Value(after, None, 1), None, 1.0, True, None, None)

    assert 100 * row(0.57).difference < -1, "as computers subtract"
    assert not read_rule("f1<-1").broken_by(row(0.57))
    assert read_rule("f1<-1").broken_by(row(0.5699))
    assert not read_rule("f1>1").broken_by(row(0.59)) and read_rule("f1>1").broken_by(row(0.5901))


@pytest.mark.parametrize(
    "text", ["mean<", "mean=1", "mean<nan", "mean<1e3x", "<-1", "mean<=-1", "", "mean worse", "mean lower -1"]
)
def test_another_form_is_refused(text):
    with pytest.raises(UserError, match="COLUMN<-1"):
        read_rule(text)


def test_an_unknown_column_is_refused_before_anything_is_computed(two, gated, monkeypatch):
    def never(*given: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(compare, "compare", never)
    line, _ = gated(2, two, "biored_ner/f2<-1")
    assert "'biored_ner/f2' is no column" in line and "did you mean 'biored_ner/f1'" in line
    assert "only one run here" in gated(2, ["before"], "mean<-1")[0]
    assert gated(2, two, "mean<")[0].startswith("error: --fail-if 'mean<' is no rule")
    assert gated(2, two, "general/mmlu<-1")[0].endswith(
        "'general/mmlu' is no column of these runs, none of which has general tasks"
    )


def test_what_cannot_be_checked_is_not_green(make, gated):  # noqa: F811
    make("before", good(0.5))
    make("after", {NER: [True] * 30})
    for rule in ("bioasq_list_qa/f1<-1", "mean<-1", "any lower"):
        line, numbers = gated(3, ["before", "after"], rule)
        assert "cannot be checked: bioasq_list_qa/f1" in line and "not in after" in line
        assert numbers["broken_rules"][0]["column"] is None
    assert "bioasq_list_qa/f1 and 1 more are not in after" in gated(3, ["after", "before"], "mean<-1")[0]
    assert "cannot be checked: scierc_ner/f1 is not in before" in gated(3, ["before", "after"], "scierc_ner/f1<-1")[0]
    gated(0, ["before", "after"], "biored_ner/f1<-1")


def test_a_run_that_was_left_out_is_not_green(make, gated):  # noqa: F811
    make("before", good(0.5))
    make("same", good(0.5), "eval.max_new_tokens=7")
    bad = make("worse", good(0.1), "eval.max_new_tokens=9")
    bad.scores.write_text("{")
    assert "runs/worse was not checked" in gated(3, ["before", "runs"], "mean<-1")[0]
    bad.scores.unlink()
    assert "runs/worse was not checked" in gated(3, ["before", "runs"], "mean<-1")[0]
    gated(0, ["before", "same"], "mean<-1")


def test_a_single_column_is_its_own_mean(make, gated):  # noqa: F811
    make("before", {TABLE: [True] * 12})
    make("after", {TABLE: [n < 5 for n in range(12)]})
    assert "discomat_te/bleu -" in gated(3, ["before", "after"], "mean lower")[0]


def test_general_tasks(make_general, gated):  # noqa: F811
    with_general(make_general("before", good(0.3)), 60)
    with_general(make_general("after", good(0.3), "eval.max_new_tokens=9"), 30)
    runs = ["before", "after"]
    assert "gsm8k_cot -30.00 (60.00 to 30.00, n 100" in gated(3, runs, "general/gsm8k_cot<-1")[0]
    assert "mean of 2 of 2 -" in gated(3, runs, "general/mean lower")[0]
    _, numbers = gated(3, runs, "general/any<-1", "any<-1")
    assert [row["column"] for row in numbers["broken_rules"]] == ["mmlu", "gsm8k_cot"]
    assert "did you mean 'general/gsm8k_cot'" in gated(2, runs, "general/gsm8k<-1")[0]
    gated(0, runs, "general/mmlu<-90", "mean<-1")


def test_general_tasks_that_one_run_lacks_are_not_green(make, make_general, gated):  # noqa: F811
    with_general(make_general("before", good(0.3)), 60)
    make("after", good(0.3), "eval.max_new_tokens=9")
    for rule in ("general/mmlu<-1", "general/mean<-1", "general/any lower"):
        assert "cannot be checked: mmlu" in gated(3, ["before", "after"], rule)[0]


def test_a_rule_is_read():
    rule = read_rule(" scierc_ner/f1 > +2.5 ")
    assert (rule.what, rule.above, rule.below, rule.verdict) == ("scierc_ner/f1", 2.5, None, None)
    with pytest.raises(UserError, match="␛"):
        read_rule("\x1b[31m?" + "x" * 999)


@pytest.mark.slow
def test_a_shell_sees_the_status(two, cli_in, tmp_path):
    for rules, status in ((["mean<-1"], 3), (["mean>90"], 0), (["men<-1"], 2)):
        done = cli_in(tmp_path, *two, "--fail-if", *rules, "--resamples", "100", module="sciriff.compare")
        assert done.returncode == status, done.stderr
        assert len(done.stderr.splitlines()) == (status > 0)
