"""The plan's numbers against sums done by hand."""

import re

import pytest

from sciriff import machine, preflight
from sciriff.machine import Gpu
from sciriff.plan import make, training_memory


def test_memory_of_7b_by_hand(composed):
    """6.74e9 parameters: bf16 weights and gradients 12.55 GiB each, fp32 master and moments 75.3 GiB."""
    config = composed("model=llama2_7b")
    alone = training_memory(config, 1, on_gpu=True)
    assert (alone.weights, alone.gradients, alone.optimizer) == pytest.approx((12.55, 12.55, 75.31), abs=0.01)
    shared = training_memory(config, 8, on_gpu=True)
    assert shared.optimizer == pytest.approx(alone.optimizer / 8)
    assert shared.activations == alone.activations


def test_activations_of_kept_and_recomputed_layers(composed):
    """8,192 tokens of 4,096: a hidden state is 64 MiB in bf16, a kept layer 17 of them."""
    gib = {
        value: training_memory(
            composed("model=llama2_7b", f"train.activation_checkpointing={value}"), 1, on_gpu=True
        ).activations
        for value in ("all", "none", 16, 0, "auto")
    }
    state = 2**26 / 2**30
    assert gib["all"] == gib["auto"] == pytest.approx((32 + 17) * state)
    assert gib["none"] == gib[0] == pytest.approx(32 * 17 * state)
    assert gib[16] == pytest.approx((16 + 16 * 17) * state)
    on_cpu = composed("model=llama2_7b", "train.activation_checkpointing=auto")
    assert training_memory(on_cpu, 1, on_gpu=False).activations == pytest.approx(gib["none"])


def test_logits_do_not_grow_with_the_vocabulary(composed):
    small, large = (composed(f"model={name}") for name in ("llama2_7b", "llama3_8b"))
    assert training_memory(small, 1, on_gpu=True).logits == training_memory(large, 1, on_gpu=True).logits < 1


def test_zero2_keeps_whole_weights(composed):
    zero2 = training_memory(composed("model=llama2_7b", "deepspeed=zero2"), 8, on_gpu=True)
    assert zero2.weights == pytest.approx(12.55, abs=0.01)
    assert zero2.gradients == pytest.approx(12.55 / 8, abs=0.01)


def test_offload_takes_the_optimizer_off_the_gpu(composed):
    assert training_memory(composed("model=llama2_7b", "deepspeed=zero3_offload"), 8, on_gpu=True).optimizer == 0


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        (["model=llama2_7b", "plan.gpu=a100_80gb", "plan.gpus=8"], True),
        (["model=llama2_7b", "plan.gpu=a100_80gb", "plan.gpus=1"], False),
        (["model=llama2_70b", "plan.gpu=h100", "plan.gpus=8", "plan.nodes=4"], True),
        (["model=llama2_70b", "plan.gpu=h100", "plan.gpus=8"], False),
    ],
)
def test_what_fits(overrides: list[str], fits: bool, composed):
    config = composed(*overrides, "name=x")
    problems = list(preflight.problems(config, make(config)))
    assert (problems == []) is fits
    if not fits:
        assert "such GPUs would do" in problems[0]


@pytest.mark.parametrize(("cap", "rows"), [(100, 4144), (200, 8193), (500, 19695), (1000, 35357), (2500, 61349)])
def test_rows_of_the_published_grid(cap: int, rows: int, composed):
    plan = make(composed("mix=science_only", f"mix.per_task={cap}", "plan.gpu=h100"))
    assert plan.rows == rows


def test_steps_end_at_max_steps(composed):
    assert make(composed("train.max_steps=10", "plan.gpu=h100")).steps == 10


def test_unknown_gpu_is_named(composed):
    with pytest.raises(ValueError, match=r"plan\.gpu=h10 is not known; did you mean 'h100'"):
        make(composed("plan.gpu=h10"))


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        (["mix=science_only", "mix.tasks=[genia_ner,chemtables_te,bioasq_list_qa]"], 1005),
        (["mix=science_only", "mix.families=[qa.yes_no]"], 1450),
        (["mix=science_only", "mix.domains=[chemistry]", "mix.per_task=null"], 2505),
        (["mix.per_task=100", "mix.sources.tulu.weight=2"], 3 * 4144),
        (["mix.per_task=100", "mix.sources.tulu.epochs=0.5", "mix.sources.sciriff.epochs=2"], 2 * 4144 + 2072),
    ],
)
def test_rows_of_filters_weights_and_epochs(overrides: list[str], rows: int, composed):
    assert make(composed(*overrides, "plan.gpu=h100")).rows == rows


def test_a_misspelt_filter_of_the_hub_is_refused_early(composed):
    config = composed("mix.tasks=[genia_nr]", "mix.domains=[biomedicine]", "plan.gpu=h100", "plan.gpus=8", "name=x")
    problems = list(preflight.problems(config, make(config)))
    assert problems == ["mix.tasks: genia_nr is not known to SciRIFF; did you mean 'genia_ner'?"]
    own = composed("mix.tasks=[mine]", "mix.sources.sciriff.path=mine", "plan.gpu=h100", "plan.gpus=8", "name=x")
    assert list(preflight.problems(own, make(own))) == []


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["+eval.max_new_tokens_of={scierc: 9}"], "eval.max_new_tokens_of: scierc is not a held-out task"),
        (["engine=vllm", "engine.replicas=3"], "with engine.replicas=3 needs 3 GPUs, and there are 2"),
        (
            ["engine=vllm", "engine.tensor_parallel=4"],
            "engine.tensor_parallel=4 with engine.replicas=auto needs 4 GPUs",
        ),
    ],
)
def test_what_the_engine_lacks_is_said_before_training(
    overrides: list[str], problem: str, composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 80)] * 2)
    config = composed("experiment=demo", *overrides)
    found = list(preflight.problems(config, make(config)))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["engine=vllm", "engine.tensor_parallel=3"], "tensor_parallel=3 does not divide model.shape.heads=4"),
        (["engine.tensor_parallel=2"], "engine.tensor_parallel=2 needs engine=vllm, and this is transformers"),
        (["engine.batch_invariant=true"], "engine.batch_invariant=True needs engine=vllm"),
        (["engine.replicas=0"], "engine.replicas=0 is too small"),
        (["engine.replicas=many"], "engine.replicas=many must be auto or a whole number of 1 or more"),
        (["+eval.max_new_tokens_of.scierc_ner=0"], "eval.max_new_tokens_of.scierc_ner=0 is too small"),
    ],
)
def test_engine_settings_that_cannot_work_are_refused(overrides: list[str], message: str, composed) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        composed("experiment=demo", *overrides)
