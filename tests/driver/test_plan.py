"""The plan's numbers against manual calculations."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sciriff.driver import preflight
from sciriff.driver.plan import lines, make, network
from sciriff.models import attention_kernels
from sciriff.models.attention_kernels import Setup
from sciriff.run import machine
from sciriff.run.machine import Gpu
from sciriff.run.manifest import Manifest, StageRecord
from sciriff.run.run_dir import RunDir

EIGHT_80GB = ("plan.gpu=a100_80gb", "plan.gpus=8")


def problems_of(config):
    return list(preflight.problems(config, make(config)))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=llama2_7b", *EIGHT_80GB],
        ["experiment=scitulu_70b", "plan.gpu=h100", "plan.gpus=8", "plan.nodes=4"],
        ["model=llama2_70b", "train=lora", "engine.tensor_parallel=4", *EIGHT_80GB],
        ["model=llama2_7b", "train=qlora", "plan.gpu=rtx_3090", "plan.gpus=1"],
        ["model=llama2_7b", "deepspeed=zero3_offload", "plan.gpu=h100", "plan.gpus=1"],
    ],
)
def test_what_fits(overrides: list[str], composed):
    config = composed(*overrides, "name=x")
    assert problems_of(config) == []
    assert make(config).ways_to_fit == []


@pytest.mark.parametrize(
    ("overrides", "ways"),
    [
        (["model=llama2_7b", "plan.gpu=a100_80gb", "plan.gpus=1"], 4),
        (["model=llama2_7b", "deepspeed=none", *EIGHT_80GB], 1),
        (["model=llama2_7b", "plan.gpu=a10", "plan.gpus=4"], 4),
        (["model=llama2_70b", "engine.tensor_parallel=4", "plan.gpu=h100", "plan.gpus=8"], 4),
        (
            [
                "model=llama2_7b",
                "deepspeed=none",
                "train.precision=bf16_pure",
                "train.activation_checkpointing=none",
                "train.micro_batch_tokens=65536",
                "plan.gpu=h100",
                "plan.gpus=1",
            ],
            1,
        ),
        (["model=llama2_7b", "deepspeed.resident_weights=all", "plan.gpu=a10", "plan.gpus=8", "plan.nodes=2"], 1),
        (["model=llama2_70b", "train=qlora", "engine.tensor_parallel=8", "plan.gpu=a100_40gb", "plan.gpus=8"], 0),
    ],
)
def test_what_is_suggested_fits(overrides: list[str], ways: int, composed):
    """Each suggestion, appended to the refused command, is accepted."""
    refused = make(composed(*overrides, "name=x"))
    assert len(refused.ways_to_fit) == ways
    (problem,) = problems_of(composed(*overrides, "name=x"))
    for way in refused.ways_to_fit:
        typed = [o for o in overrides if not any(o.split("=")[0] == w.split("=")[0] for w in way.overrides)]
        accepted = composed(*typed, *way.overrides, "name=x")
        assert make(accepted).ways_to_fit == []
        assert problems_of(accepted) == []
        assert str(way) in problem


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "train=lora",
            "train.lora_variant=dora",
            "train.precision=fp32",
            "deepspeed=none",
            "plan.gpu=rtx_3090",
            "plan.gpus=1",
        ],
        [
            "train=lora",
            "train.lora_variant=pissa",
            "train.precision=fp32",
            "deepspeed=none",
            "plan.gpu=rtx_3090",
            "plan.gpus=4",
        ],
        [
            "train=lora",
            "train.lora_targets=[q_proj,experts]",
            "train.precision=fp32",
            "deepspeed=none",
            "plan.gpu=rtx_3090",
            "plan.gpus=2",
        ],
        ["train.router_aux_loss=0.001", "deepspeed=none", "plan.gpu=rtx_3090", "plan.gpus=1"],
        ["train.optimizer=adamw_8bit", "deepspeed=none", "plan.gpu=rtx_3090", "plan.gpus=2"],
    ],
)
def test_what_the_config_refuses_is_no_way_to_fit(overrides: list[str], composed):
    (problem,) = [p for p in problems_of(composed("model=llama2_7b", *overrides, "name=x")) if "What would fit" in p]
    refused = make(composed("model=llama2_7b", *overrides, "name=x"))
    for way in refused.ways_to_fit:
        typed = [o for o in overrides if not any(o.split("=")[0] == w.split("=")[0] for w in way.overrides)]
        assert make(composed("model=llama2_7b", *typed, *way.overrides, "name=x")).ways_to_fit == []
    assert "does not go with" not in problem and "do not go with" not in problem


def test_what_was_not_measured_is_said(composed, tmp_path: Path):
    dense = composed("model=llama2_7b", "name=x", *EIGHT_80GB)
    assert "not measured" not in "\n".join(lines(dense, make(dense)))
    for change in ({"active": 10**9}, {"without_attention": 20}):
        other = replace(dense, model=replace(dense.model, shape=replace(dense.model.shape, **change)))
        assert "a dense 7B (mixtures and hybrids are not measured)" in "\n".join(lines(other, make(other)))
    (tmp_path / "config.json").write_text('{"model_type": "gpt_oss"}')
    unserved = composed("model=llama2_7b", f"model.path={tmp_path}", "name=x", *EIGHT_80GB)
    page = "\n".join(lines(unserved, make(unserved)))
    assert "FlashAttentions do not serve gpt_oss" in page and "if FlashAttention is installed" not in page
    assert make(unserved).hours > 1.5 * make(dense).hours


def test_seventy_billion_cannot_answer_on_one_gpu(composed):
    (problem,) = problems_of(composed("model=llama2_70b", "train=none", "name=x", *EIGHT_80GB))
    assert problem.endswith("engine.tensor_parallel=2 would fit")
    assert (
        problems_of(composed("model=llama2_70b", "train=none", "engine.tensor_parallel=2", "name=x", *EIGHT_80GB)) == []
    )
    (problem,) = problems_of(composed("model=llama2_70b", "train=none", "name=x", "plan.gpu=a10", "plan.gpus=4"))
    assert "use more or larger GPUs" in problem


def test_price_and_what_the_choice_costs(composed):
    config = composed("model=llama2_7b", "name=x", *EIGHT_80GB)
    plan = make(config)
    assert plan.price == pytest.approx(plan.hours * 8 * 1.3)
    page = "\n".join(lines(config, plan))
    assert "typical list price" in page
    assert "1.5 times slower than plain torch" in page
    priced = composed("model=llama2_7b", "plan.usd_per_gpu_hour=2", "name=x", *EIGHT_80GB)
    assert make(priced).price == pytest.approx(plan.hours * 16)
    offload = composed("model=llama2_7b", "deepspeed=zero3_offload", "name=x", *EIGHT_80GB)
    assert "8.3 times slower" in "\n".join(lines(offload, make(offload)))
    unknown = composed("model=llama2_7b", "plan.gpu=l4", "plan.gpus=8", "name=x")
    assert make(unknown).price is None
    assert "price" not in "\n".join(lines(unknown, make(unknown)))


def test_hours_of_the_plain_loop_that_was_measured(composed):
    """A 7B shape in bf16 on one H100 reached 10,080 to 10,530 tokens a second."""
    config = composed("model=llama2_7b", "deepspeed=none", "train.precision=bf16_pure", "plan.gpu=h100", "name=x")
    plan = make(config)
    assert plan.tokens * config.train.epochs / plan.hours / 3600 == pytest.approx(10_300, rel=0.05)


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
        (["engine=vllm", "engine.tensor_parallel=3"], "tensor_parallel=3 does not share out model.shape.heads=4"),
        (
            [
                "engine=vllm",
                "engine.tensor_parallel=6",
                "model.shape.hidden=96",
                "model.shape.heads=12",
                "model.shape.kv_heads=4",
            ],
            "tensor_parallel=6 does not share out model.shape.heads=12, the attention heads of the model "
            "(model.shape.kv_heads=4 of keys and values)",
        ),
        (["engine.tensor_parallel=2"], "engine.tensor_parallel=2 needs engine=vllm, and this is transformers"),
        (["engine.batch_invariant=true"], "engine.batch_invariant=True needs engine=vllm"),
        (["engine.replicas=0"], "engine.replicas=0 must be at least"),
        (["engine.replicas=many"], "engine.replicas=many must be auto or a whole number of 1 or more"),
        (["+eval.max_new_tokens_of.scierc_ner=0"], "eval.max_new_tokens_of.scierc_ner=0 must be at least"),
    ],
)
def test_engine_settings_that_cannot_work_are_refused(overrides: list[str], message: str, composed) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        composed("experiment=demo", *overrides)


SEVENTY = ("model=llama2_70b", "engine.tensor_parallel=2", "plan.gpu=h100", "plan.gpus=8", "plan.nodes=4")


def test_the_printed_plan_of_seventy_billion_is_this_one(composed):
    config = composed(*SEVENTY, "name=llama2_70b", "run_dir=runs/llama2_70b")
    printed = "\n".join(["```", *lines(config, make(config)), "```"])
    assert printed in (Path(__file__).parents[2] / "docs/plan_70b.md").read_text()


def test_traffic_between_nodes_by_hand(composed):
    """ZeRO-3 with nothing resident: three times the weights for each micro-batch, divided over the nodes."""
    config = composed("model=llama2_7b", "deepspeed.resident_weights=none", "name=x")
    shape = config.model.shape
    one = network.traffic(config, 16, 2, 80, tokens=16 * 8192, seconds=4.0)
    assert one.gigabytes == pytest.approx(3 * 2 * shape.parameters / 2 / 1e9)
    assert one.gigabytes_per_second == one.gigabytes / 4
    two = network.traffic(config, 16, 2, 80, tokens=16 * 8192 + 1, seconds=4.0)
    assert two.gigabytes == pytest.approx(2 * one.gigabytes), "a second micro-batch gathers all of them again"
    whole = replace(config, deepspeed=replace(config.deepspeed, resident_weights="all"))
    assert network.traffic(whole, 16, 2, 80, 1000, 4.0).gigabytes == pytest.approx(2 * 2 * shape.parameters / 2 / 1e9)


@pytest.mark.parametrize(("choice", "times"), [("deepspeed=zero2", 2), ("deepspeed=none", 4)])
def test_traffic_without_sharing_weights(choice: str, times: int, composed):
    config = composed("model=llama2_7b", choice, "name=x")
    weights = 2 * config.model.shape.parameters
    assert network.traffic(config, 8, 2, 80, 1000, 1.0).gigabytes == pytest.approx(times * weights / 2 / 1e9)


def test_one_node_has_no_network(composed):
    one = composed("model=llama2_7b", "name=x", *EIGHT_80GB)
    assert make(one).network is None
    assert not any(line.startswith("network") for line in lines(one, make(one)))


def test_the_best_checkpoint_and_measuring_it_are_in_the_plan(composed):
    plain = make(composed("model=llama2_7b", "name=x", "train.eval_every=null", *EIGHT_80GB))
    config = composed(
        "model=llama2_7b", "name=x", "train.eval_every=10", "train.keep=best", "mix.validation_rows=500", *EIGHT_80GB
    )
    best = make(config)
    checkpoint = 12 * config.model.shape.parameters / 2**30  # fp32 weights and two moments
    assert plain.disk == pytest.approx(3 * checkpoint), "two that are kept, and one that is being written"
    assert best.disk == pytest.approx(4 * checkpoint)
    # 112 measurements of 1,000 rows, forward alone, beside 1,106 steps of 128 rows forward and backward
    assert best.validation_hours / plain.hours == pytest.approx(112 * 1000 / 3 / (2 * 70_714), rel=1e-6)
    assert best.hours == pytest.approx(plain.hours + best.validation_hours)


def test_more_steps_than_the_epochs_have(composed):
    """train.max_steps overrides the epochs."""
    plain = make(composed("model=llama2_7b", "name=x", "train.eval_every=null", *EIGHT_80GB))
    config = composed("model=llama2_7b", "name=x", "train.eval_every=null", "train.max_steps=2765", *EIGHT_80GB)
    more = make(config)
    assert (plain.steps, more.steps) == (1106, 2765)
    assert more.hours == pytest.approx(2.5 * plain.hours)
    assert any("2765 steps of 128 sequences, 5 epochs" in line for line in lines(config, more))


def test_what_a_run_has_written_is_not_needed_again(composed, tmp_path, monkeypatch):
    """A run that is restarted, or only makes its report, is not refused for the space that it uses itself."""
    config = composed("experiment=demo", "name=x", f"run_dir={tmp_path}", "train.checkpoint_every=5", "log=none")
    run, plan = RunDir(tmp_path), make(config)
    needed = int(plan.disk * 2**30)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=needed // 2))
    assert any("on the disk of" in problem for problem in preflight.problems(config, plan))
    (run.checkpoints / "step-5").mkdir(parents=True)
    with (run.checkpoints / "step-5" / "state.pt").open("wb") as file:
        file.truncate(needed // 2 + 1)
    assert not any("on the disk of" in problem for problem in preflight.problems(config, plan))
    shutil.rmtree(run.checkpoints)
    Manifest(run.manifest, stages={"train": StageRecord("done", {})}).write()
    assert not any("on the disk of" in problem for problem in preflight.problems(config, plan))


def predict_line(config) -> str:
    [line] = [line for line in lines(config, make(config)) if line.startswith("predict")]
    return line


def test_the_plan_counts_every_sample(composed):
    plain = composed("train=none", "model=gpt_4o", "name=x")
    # 4,177 validation prompts; dollars per million tokens, times the tasks' mean lengths
    assert predict_line(plain).startswith("predict   openai, 4,177 answers for about $")
    sampled = composed("train=none", "model=gpt_4o", "name=x", "eval.samples=4", "engine.temperature=0.7")
    assert predict_line(sampled).startswith("predict   openai, 16,708 answers (4 samples of each) for about $")
    once, four = (float(predict_line(config).split("$")[1].split()[0].rstrip(",")) for config in (plain, sampled))
    assert once > 10
    assert predict_line(plain).endswith(", $10 at most, so it would be refused: raise engine.max_usd")
    assert predict_line(composed("train=none", "model=gpt_4o", "name=x", "engine.max_usd=20")).endswith(", $20 at most")
    assert four == pytest.approx(4 * once, abs=0.02)
    few = composed("train=none", "name=x", "eval.limit=50", "eval.samples=2", "engine.temperature=1")
    assert "900 answers (2 samples of each), 1024 new tokens at most" in predict_line(few)
    local = composed("experiment=demo", "train=none", "name=x", "eval.samples=2", "engine.temperature=1")
    assert "2 samples of each answer, 192 new tokens at most" in predict_line(local)


def test_the_plan_counts_on_the_attention_that_is_installed(composed, monkeypatch):
    """Without FlashAttention a plan has the utilisation of SDPA, and one line with the command that helps."""
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 80)])
    bare = Setup("2.11.0", "13.0", (3, 12), "linux_x86_64", {"transformers": "5.24.0"})
    with_three = replace(bare, packages={**bare.packages, "flash-attn-3": "3.0.0"})

    def planned(setup: Setup, *overrides: str):
        monkeypatch.setattr(attention_kernels, "here", lambda: setup)
        config = composed("model=llama2_7b", "train=lora", "name=x", *overrides)
        plan = make(config)
        return plan, lines(config, plan)

    fast, fast_lines = planned(with_three)
    slow, slow_lines = planned(bare)
    asked, asked_lines = planned(bare, "train.attention=sdpa")
    other, other_lines = planned(bare, "plan.gpu=h100", "plan.gpus=1")
    assert slow.hours == asked.hours == pytest.approx(fast.hours * 0.43 / 0.23)
    assert slow.memory.activations == asked.memory.activations > fast.memory.activations == other.memory.activations
    assert other.hours == fast.hours
    (line,) = (line for line in slow_lines if line.startswith("attention "))
    assert "0.23" in line and "0.43" in line and line.endswith("--index-url https://download.pytorch.org/whl/cu130")
    assert not any(line.startswith("attention ") for line in (*fast_lines, *asked_lines, *other_lines))
    (time,) = (line for line in other_lines if line.startswith("time "))
    assert time.endswith("at 29% of the peak as measured on one H100, if FlashAttention is installed there")
    assert not any("if FlashAttention" in line for line in (*slow_lines, *fast_lines))


def test_an_attention_kernel_that_cannot_run_is_refused_before_the_start(composed, monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("NVIDIA A100 80GB PCIe", 80)])
    found = problems_of(composed("model=llama2_7b", "train=lora", "name=x", "train.attention=flash_attention_3"))
    assert any(
        re.search(r"train\.attention=flash_attention_3 .*capability 8\.0, and it runs on 9\.0", one) for one in found
    )
