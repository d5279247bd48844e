"""General tasks that cannot be asked or scored are refused before anything starts, a line each."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sciriff.config import SAMPLE
from sciriff.driver import preflight
from sciriff.driver.plan import make
from sciriff.driver.preflight import general

HERE = ("experiment=demo", "general=sample", "name=a")
SERVED = ("train=none", "model=gpt_4o", "name=a")


@pytest.fixture
def without_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "lm_eval" else found(name, *more)
    )


@pytest.fixture
def child(tmp_path: Path):
    """`child("print(5)")` is the command of a child that runs this code, with the config as `config`."""

    def command(code: str) -> list[str]:
        script = tmp_path / "child.py"
        script.write_text(f"import json, os, sys, time\nconfig = json.load(sys.stdin)\n{code}\n")
        return [sys.executable, str(script)]

    return command


def problems_of(config) -> list[str]:
    return list(preflight.problems(config, make(config)))


def test_lm_eval_is_missing(composed, tmp_path: Path, without_lm_eval: None):
    [problem] = problems_of(composed(*HERE, f"run_dir={tmp_path}/a"))
    assert problem == (
        "general=sample needs the package lm_eval, which is missing: pip install 'sciriff[general]', or general=none"
    )
    assert problems_of(composed("experiment=demo", "name=a", f"run_dir={tmp_path}/a")) == []
    assert problems_of(composed(*HERE, f"run_dir={tmp_path}/a", "stages=[mix,train]")) == []


def test_folders_that_do_not_exist_are_named_once(composed, tmp_path: Path):
    config = composed(*HERE, f"run_dir={tmp_path}/a", "general.data=/none/data", "general.include=[/none/tasks]")
    assert problems_of(config) == [
        "general.data=/none/data does not exist",
        "general.include=/none/tasks does not exist",
    ]


def test_a_server_is_not_asked_for_likelihoods_of_texts(composed):
    [problem] = [one for one in problems_of(composed(*SERVED, "general=standard")) if "general" in one]
    assert problem.startswith(
        "general.tasks: truthfulqa_mc2 compares likelihoods of texts, which engine=openai does not"
    )
    others = problem[problem.index("general.tasks=") :].split()[0]
    assert others == "general.tasks=[mmlu,gsm8k_cot,bbh_cot_fewshot,ifeval,tydiqa_goldp]"
    assert list(general.only_likelihoods(composed(*SERVED, "general=standard", others))) == []
    [problem] = general.only_likelihoods(composed(*SERVED, "general=standard", "general.tasks=[truthfulqa_mc1]"))
    assert problem.endswith("general=none does without")
    # known of any machine, and no matter to an engine that runs here
    planned = composed(*SERVED, "general=standard", "plan.gpu=h100")
    assert any("truthfulqa_mc2" in one for one in problems_of(planned))
    assert not any("general" in one for one in problems_of(composed("general=standard", "plan.gpu=h100", "name=a")))


def test_the_child_gets_the_config_and_its_lines_are_problems(composed, child):
    config = composed(*HERE)
    code = "print(config['general']['tasks'], config['model']['shape']['context'])\nprint()\nprint('two\\x1b[2J')"
    assert list(general.asked_of_lm_eval(config, child(code))) == [
        "['sample_common_sense', 'sample_arithmetic', 'sample_instructions'] 1024",
        "two␛[2J",
    ]
    assert list(general.asked_of_lm_eval(config, child(""))) == []


def test_a_child_that_fails(composed, child):
    config = composed(*HERE)
    crash = "print('a problem', flush=True)\nraise ImportError('no module named x')"
    one, two = general.asked_of_lm_eval(config, child(crash))
    assert one == "a problem"
    assert two.startswith("general.tasks: lm-eval cannot check them (ImportError: no module named x); ")
    assert "general=none" in two
    [problem] = general.asked_of_lm_eval(config, child("os.kill(os.getpid(), 9)"))
    assert "(status -9)" in problem


def test_a_child_that_does_not_answer(composed, child, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(general, "PATIENCE", 0.2)
    [problem] = general.asked_of_lm_eval(composed(*HERE), child("time.sleep(60)"))
    assert "not checked them within 0.2 s" in problem and "general=none" in problem


def test_the_child_is_asked_only_where_it_matters(composed, child):
    says = child("print('asked')")
    assert list(general.asked_of_lm_eval(composed(*HERE), says)) == ["asked"]
    for other in ("general=none", "stages=[mix,train]", "stages=[general,score]", "general.data=/none"):
        assert list(general.asked_of_lm_eval(composed(*HERE, other), says)) == []
    assert list(general.asked_of_lm_eval(composed(*SERVED, "general=standard"), says)) == []
    assert problems_of(composed(*HERE, "plan.gpu=h100", "general.tasks=[no_such_task]")) == []


@pytest.mark.slow
def test_the_bundled_tasks_pass_lm_evals_own_check(composed):
    pytest.importorskip("lm_eval")
    assert list(general.asked_of_lm_eval(composed(*HERE))) == []
    [problem] = general.asked_of_lm_eval(composed(*HERE, "general.tasks=[sample_arithmetics]"))
    assert "sample_arithmetics" in problem and "sample_arithmetic'" in problem
    assert json.dumps(str(SAMPLE)) not in problem
