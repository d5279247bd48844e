"""What the plan says of the answers that choose the best model, and when it refuses them."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sciriff.config import Config
from sciriff.driver import preflight
from sciriff.driver.plan import lines, make
from sciriff.run.run_dir import RunDir

Compose = Callable[..., Config]

CHOOSES = ("model=llama2_7b", "name=x", "train.keep=best", "train.best_by=task_mean")
EIGHT = ("plan.gpu=h100", "plan.gpus=8")


def test_the_plan_prices_them(composed: Compose) -> None:
    plain = make(composed("model=llama2_7b", "name=x", *EIGHT))
    config = composed(*CHOOSES, *EIGHT)
    plan = make(config)
    assert plan.selection is not None and plan.selection.hours is not None and plan.training_hours is not None
    assert (plan.selection.prompts, plan.selection.times) == (8 * 16, 12), "8 tasks need no judge; 1,106 steps"
    assert plan.hours == pytest.approx(plan.training_hours + plan.validation_hours + plan.selection.hours)
    assert plain.hours == pytest.approx(plan.training_hours + plan.validation_hours)
    [line] = [line for line in lines(config, plan) if line.startswith("best")]
    assert "128 prompts (train_split), answered 12 times, about " in line
    assert list(preflight.problems(config, plan)) == []


def test_zero_3_that_gathers_weights_costs_more(composed: Compose) -> None:
    """70B on four nodes, whose weights do not stay on each GPU: 138 GB come over the network for each token."""
    hours = []
    for overrides in (["plan.nodes=4"], ["plan.nodes=4", "deepspeed.resident_weights=none"], []):
        plan = make(composed("model=llama2_7b", *CHOOSES[1:], *EIGHT, *overrides))
        assert plan.selection is not None
        hours.append(plan.selection.hours)
    assert hours[1] > 2 * hours[0]


def test_what_takes_longer_than_the_training_is_refused_with_what_would_not(composed: Compose) -> None:
    overrides = (*CHOOSES, *EIGHT, "train.eval_every=5")
    [problem] = preflight.problems(composed(*overrides), make(composed(*overrides)))
    found = re.search(
        r"128 prompts 222 times, about .* the training itself takes about .* train\.eval_every=(\d+)", problem
    )
    assert found is not None, problem
    enough = composed(*CHOOSES, *EIGHT, f"train.eval_every={found[1]}")
    assert list(preflight.problems(enough, make(enough))) == []


def test_a_training_that_has_begun_and_one_of_seconds_are_not_refused(composed: Compose, tmp_path: Path) -> None:
    """Of local files the steps are known from the second start on, which resumes the first."""
    config = composed(*CHOOSES, *EIGHT, "train.eval_every=5", f"run_dir={tmp_path}/x")
    plan = make(config)
    assert list(preflight.too_much_to_answer(config, plan))
    here = replace(plan, imagined=False)
    assert list(preflight.too_much_to_answer(config, here))
    assert plan.selection is not None
    short = replace(plan, training_hours=1e-5, selection=replace(plan.selection, hours=2e-5))
    assert list(preflight.too_much_to_answer(config, short)) == []
    prompts = RunDir(tmp_path / "x").selection_prompts
    prompts.parent.mkdir(parents=True)
    prompts.touch()
    assert list(preflight.too_much_to_answer(config, here)) == []


def test_without_prompts_but_the_reported_ones_it_is_refused(composed: Compose) -> None:
    config = composed("experiment=demo", *CHOOSES[1:], "train.eval_every=50")
    [problem] = [line for line in preflight.anywhere(config) if "train.best_by" in line]
    assert "train.best_from=reported" in problem
    typed = composed("experiment=demo", *CHOOSES[1:], "train.eval_every=50", "train.best_from=reported")
    assert list(preflight.anywhere(typed)) == []
    assert make(typed).selection is not None
