"""The training stage in this process: data, loss, metrics, checkpoints and the finished model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import SHAPE, finetune, losses, rows_of, tiny_model, weights
from torch.nn import functional

from sciriff.data.token_file import TokenFile, write_token_file
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]


pytestmark = pytest.mark.usefixtures("in_process")


def test_the_first_loss_is_the_mean_over_the_steps_target_tokens(make: Make) -> None:
    run = finetune(make(rows=6, max_steps=1))
    data = TokenFile(run.tokens)
    model = load_model(tiny_model(), seed=42, dtype=torch.float32)
    total, count = 0.0, 0
    for index in range(len(data)):  # one at a time, with transformers' own forward
        tokens, targets = (torch.from_numpy(part) for part in data[index])
        logits = model(input_ids=tokens[None].long()).logits[0, :-1]
        total += functional.cross_entropy(logits, tokens[1:].long(), reduction="none")[targets[1:]].sum().item()
        count += int(targets[1:].sum())
    row = rows_of(run)[0]
    assert row["loss"] == pytest.approx(total / count, abs=1e-5)
    assert row["target_tokens"] == count
    assert row["tokens"] == data.lengths.sum()
    assert row["epoch"] == 1.0


def test_the_curve_does_not_depend_on_micro_batches(make: Make) -> None:
    curves = [losses(finetune(make(str(budget), micro_batch_tokens=budget))) for budget in (100, 256, 5000)]
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)
    assert curves[2] == pytest.approx(curves[0], abs=1e-5)


def test_it_learns(make: Make) -> None:
    curve = losses(finetune(make(rows=4, max_steps=80, global_batch_size=4, learning_rate=1e-2)))
    assert curve[-1] < 0.2 < 8 < curve[0]


def test_every_step_has_a_row(make: Make) -> None:
    rows = rows_of(finetune(make(max_steps=None, epochs=2)))
    assert [row["step"] for row in rows] == list(range(1, 15))
    assert {row["steps"] for row in rows} == {14}
    assert rows[6]["epoch"] == 1.0
    assert rows[6]["tokens"] < rows[0]["tokens"]  # the last of 7 steps takes the other 4 rows
    assert rows[0]["lr"] == pytest.approx(1e-3 / 3)
    assert all(row["grad_norm"] > 0 and 0 < row["packing_efficiency"] <= 1 and row["seconds"] > 0 for row in rows)
    for row in rows:
        parts = row["seconds_data"] + row["seconds_compute"] + row["seconds_optimizer"]
        assert parts == pytest.approx(row["seconds"], abs=2e-4)
        assert row["total_tokens_per_second"] > row["tokens_per_second"] > 0
    assert {row["balance"] for row in rows} == {1.0}
    assert not any(row["spike"] for row in rows)
    assert rows[0]["mfu"] is None
    assert rows[0]["memory"] is None


def test_weight_decay_spares_norms(make: Make) -> None:
    run = make(weight_decay=0.9, learning_rate=0.5, warmup_ratio=0.0, max_steps=1)
    finetune(run)
    from transformers import AutoModelForCausalLM

    state = AutoModelForCausalLM.from_pretrained(run.model).state_dict()
    # Adam's first step moves each weight by the learning rate; decay would also halve a norm's weight of 1.0.
    norm = state["model.layers.0.input_layernorm.weight"]
    assert ((norm - 1).abs() < 0.51).all()
    matrix = state["model.layers.0.mlp.up_proj.weight"]
    assert (matrix.abs() < 0.6).all()


def test_the_finished_model_is_a_plain_folder(make: Make) -> None:
    run = finetune(make(model=tiny_model(dtype="bfloat16")))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(run.model, dtype="auto")
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|user|>\nHi\n" in text
    assert json.loads((run.model / "config.json").read_text())["dtype"] == "bfloat16"
    generation = json.loads((run.model / "generation_config.json").read_text())
    assert tokenizer.eos_token_id in generation["eos_token_id"]
    assert not run.checkpoints.exists()
    assert not list(run.root.glob("*.partial"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
def test_precisions(make: Make, precision: str, tied: bool) -> None:
    model = tiny_model(shape=replace(SHAPE, tied_embeddings=tied))
    reference = losses(finetune(make("fp32", model=model)))
    run = finetune(make(model=model, precision=precision))
    assert losses(run) == pytest.approx(reference, abs=0.05)
    assert losses(run) != reference


def test_activation_checkpointing_changes_nothing(make: Make) -> None:
    assert losses(finetune(make("all", activation_checkpointing="all"))) == losses(finetune(make("none")))


def test_a_finished_run_is_left_alone(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = finetune(make())
    before = run.metrics.read_bytes(), weights(run)
    finetune(run)
    assert "is already there; nothing to train" in capsys.readouterr().out
    assert (run.metrics.read_bytes(), weights(run)) == before


def test_a_stop_request_ends_with_a_checkpoint_and_no_model(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    whole = finetune(make("whole"))
    run = make()
    run.stop_request.touch()
    finetune(run)
    assert "stopped as asked after step 1" in capsys.readouterr().out
    assert not run.model.exists()
    assert [folder.name for folder in run.checkpoints.iterdir()] == ["step-1"]
    finetune(run)  # each start does one more step
    run.stop_request.unlink()
    finetune(run)
    assert weights(run) == weights(whole)
    assert losses(run) == losses(whole)
    assert not run.checkpoints.exists()


def test_a_stop_request_in_the_last_step_changes_nothing(make: Make) -> None:
    run = make(max_steps=1)
    run.stop_request.touch()
    assert finetune(run).model.is_dir()


@pytest.fixture
def checkpointed(make: Make) -> RunDir:
    """Checkpoints of steps 2 and 4 of 10, and metrics up to step 5 and a torn line, as a kill leaves them."""
    run = make(checkpoint_every=2)
    kept = run.root / "kept"
    for step in (2, 4):
        run.stop_request.touch()
        while not (run.checkpoints / f"step-{step}").is_dir():
            finetune(run)
        run.stop_request.unlink()
        shutil.copytree(run.checkpoints / f"step-{step}", kept / f"step-{step}")
    shutil.rmtree(run.checkpoints)
    kept.rename(run.checkpoints)
    with run.metrics.open("a") as file:
        file.write(json.dumps({**rows_of(run)[-1], "step": 5}) + "\n" + '{"step": 6, "lo')
    return run


def test_the_newest_checkpoint_is_used_and_metrics_are_cut(
    checkpointed: RunDir, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = finetune(make("whole"))
    finetune(checkpointed)
    assert f"resuming from {checkpointed.checkpoints / 'step-4'}" in capsys.readouterr().out
    assert [row["step"] for row in rows_of(checkpointed)] == list(range(1, 11))
    assert losses(checkpointed) == losses(whole)
    assert weights(checkpointed) == weights(whole)


def damage(folder: Path, how: str) -> None:
    file = folder / "state.pt"
    content = bytearray(file.read_bytes())
    match how:
        case "truncated":
            file.write_bytes(content[: len(content) // 2])
        case "changed":
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        case "gone":
            file.unlink()
        case "no record":
            (folder / "checkpoint.json").write_text("{")


@pytest.mark.parametrize("how", ["truncated", "changed", "gone", "no record"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    checkpointed: RunDir, make: Make, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    damage(checkpointed.checkpoints / "step-4", how)
    finetune(checkpointed)
    printed = capsys.readouterr().out
    assert f"{checkpointed.checkpoints / 'step-4'} is damaged" in printed
    assert f"resuming from {checkpointed.checkpoints / 'step-2'}" in printed
    assert weights(checkpointed) == weights(finetune(make("whole")))


def test_with_no_whole_checkpoint_training_begins_anew(checkpointed: RunDir, make: Make) -> None:
    for folder in checkpointed.checkpoints.iterdir():
        damage(folder, "changed")
    (checkpointed.checkpoints / "step-6.partial").mkdir()
    finetune(checkpointed)
    assert [row["step"] for row in rows_of(checkpointed)] == list(range(1, 11))
    assert weights(checkpointed) == weights(finetune(make("whole")))


def test_a_checkpoint_of_other_settings_is_refused(checkpointed: RunDir) -> None:
    with pytest.raises(ValueError, match=r"step-4 was made with train\.learning_rate=0\.001, not 0\.002; delete"):
        finetune(checkpointed, learning_rate=2e-3)


def test_a_checkpoint_of_another_mix_is_refused(checkpointed: RunDir) -> None:
    write_token_file(checkpointed.tokens, [("a/0", [1, 2], [False, True])])
    with pytest.raises(ValueError, match="step-4 was made with the tokens' digest="):
        finetune(checkpointed)


def test_a_run_may_resume_with_other_micro_batches(checkpointed: RunDir, make: Make) -> None:
    finetune(checkpointed, micro_batch_tokens=100)
    assert losses(checkpointed) == pytest.approx(losses(finetune(make("whole"))), abs=1e-5)


def test_two_checkpoints_are_kept_while_training_and_the_last_one_after_it(make: Make) -> None:
    run = make(checkpoint_every=2)
    run.stop_request.touch()
    for _ in range(5):
        finetune(run)
    assert sorted(folder.name for folder in run.checkpoints.iterdir()) == ["step-4", "step-5"]
    run.stop_request.unlink()
    finetune(run, keep_checkpoints=True)
    assert [folder.name for folder in run.checkpoints.iterdir()] == ["step-10"]


def test_rows_that_cannot_be_used_are_counted(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(max_length=30)
    finetune(run)
    data = TokenFile(run.tokens)
    too_long = int((data.lengths > 30).sum())
    assert f"{too_long} of 40 rows left out: longer than train.max_length=30" in capsys.readouterr().out
    assert max(row["tokens"] for row in rows_of(run)) <= 6 * 30


def test_a_mix_without_usable_rows(make: Make) -> None:
    with pytest.raises(ValueError, match=r"none of the mix's 40 rows can be trained on.*train\.max_length=3"):
        finetune(make(max_length=3))


def test_a_batch_of_more_than_all_rows_is_said(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = finetune(make(global_batch_size=100, max_steps=2))
    assert "global_batch_size=100 is more than the 40 rows" in capsys.readouterr().out
    assert rows_of(run)[0]["tokens"] == rows_of(run)[1]["tokens"] == TokenFile(run.tokens).lengths.sum()


def test_rows_longer_than_the_model_are_refused(make: Make) -> None:
    model = tiny_model(shape=replace(SHAPE, context=32))
    with pytest.raises(
        ValueError,
        match=r"row science\.made_up/\d+ has \d\d tokens, and the context window of t is 32; set train\.max_length=32",
    ):
        finetune(make(model=model))


def test_a_loss_that_is_not_finite_names_step_and_rows(make: Make) -> None:
    run = make(rows=2, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.0, schedule="constant")
    with pytest.raises(ValueError, match=r"of step \d is not finite.*science\.made_up/[01]"):
        finetune(run)
    assert not run.model.exists()
    assert all(row["step"] == number for number, row in enumerate(rows_of(run), 1))


def test_flash_attention_is_refused_without_a_gpu(make: Make) -> None:
    with pytest.raises(
        ValueError, match=r"train\.attention=flash_attention_2 needs a GPU.*; use train\.attention=auto"
    ):
        finetune(make(attention="flash_attention_2"))


def test_deepspeed_needs_its_launcher(make: Make) -> None:
    with pytest.raises(ValueError, match="DeepSpeed needs `accelerate launch`"):
        finetune(make(zero_stage=3))


def foreign_model(folder: Path, config: Any) -> Any:
    """Save random weights of any family in a folder, and return settings that name it."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return tiny_model(path=str(folder))


def test_a_head_of_an_unknown_kind_is_left_to_the_model(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HyperCLOVA X multiplies its logits by `logits_scaling`, by which Granite divides them."""
    import transformers

    if not hasattr(transformers, "HyperCLOVAXConfig"):
        pytest.skip("this version of transformers has no HyperCLOVA X")
    sizes = {"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.3}
    config = transformers.HyperCLOVAXConfig(**sizes, **heads, logits_scaling=4.0)
    finetune(make(model=foreign_model(tmp_path / "hyperclovax", config), max_steps=2))
    assert "the model makes its logits itself" in capsys.readouterr().out
