"""Families whose packed rows influence one another are trained row by row, others packed; the loss is the same."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import tiny_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from sciriff import config as configuration
from sciriff.config import SAMPLE
from sciriff.data.token_file import TokenFile
from sciriff.finetune import attention, schedule
from sciriff.finetune.loop import Trainer
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("in_process")

Make = Callable[..., RunDir]
ROOT = Path(__file__).parents[2]

PACKED = {
    "mistral": attention.PACKED_SDPA,  # sliding windows
    "olmo3": attention.PACKED_SDPA,
    "gemma2": attention.PACKED_EAGER,  # capped scores
    "gpt_oss": attention.PACKED_EAGER,  # sinks
    "qwen3_moe": attention.PACKED_SDPA,  # experts
    "deepseek_v3": attention.PACKED_SDPA,
}
ROW_BY_ROW = ("qwen3_5", "qwen3_next", "granitemoehybrid", "nemotron_h", "falcon_h1", "lfm2", "mamba2")
ALWAYS = ("mistral", "gpt_oss", "qwen3_moe", "qwen3_next", "mamba2")
"""Families whose tests are not slow: one of each kind."""


@pytest.fixture
def family(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """`family("mistral", ...)` makes a run folder for training a tiny model of this family."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    def run(name: str, **values: Any) -> RunDir:
        folder = tmp_path / name
        if not folder.exists():
            tiny_families.save(name, folder, SAMPLE / "tokenizer", scale=4.0)
        return make(f"run-{name}-{len(values)}", model=tiny_model(path=str(folder)), **values)

    return run


def trainer(run: RunDir) -> Trainer:
    config = configuration.load(run.config)
    return Trainer(config, run, Workers(config))


def own_loss(run: RunDir, rows: Any) -> tuple[float, float]:
    """The mean loss of these rows, and the norm of its gradient: one row at a time, by transformers alone."""
    data = TokenFile(run.tokens)
    model = AutoModelForCausalLM.from_pretrained(configuration.load(run.config).model.path, attn_implementation="eager")
    total, count = torch.zeros(()), 0
    for row in rows:
        tokens, targets = (torch.from_numpy(part.copy()) for part in data[row])
        logits = model(input_ids=tokens[None].long()).logits[0, :-1].float()
        total = total + functional.cross_entropy(logits[targets[1:]], tokens[1:][targets[1:]].long(), reduction="sum")
        count += int(targets[1:].sum())
    (total / count).backward()
    squares = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None)
    return total.item() / count, math.sqrt(squares)


@pytest.mark.parametrize(
    "name",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in (*PACKED, *ROW_BY_ROW)],
)
def test_the_first_step_has_the_loss_and_gradient_of_the_models_own_forward(
    family: Callable[..., RunDir], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = family(name)
    one = trainer(run)
    printed = capsys.readouterr().out
    rows = one.rows[schedule.step_rows(0, len(one.rows), 6, one.config.seed)]
    row, _ = one.optimizer_step(0)
    loss, norm = own_loss(run, rows)
    assert row.loss == pytest.approx(loss, abs=1e-4)
    assert row.grad_norm == pytest.approx(norm, rel=1e-3)
    assert one.model.one_by_one == (name in ROW_BY_ROW)
    assert one.model.attention_name == PACKED.get(name, one.model.attention_name)
    [*lines] = [line for line in printed.splitlines() if "rows are computed one by one" in line]
    assert len(lines) == (name in ROW_BY_ROW)
    if lines:
        family_class = type(one.model.language_model).__name__
        assert family_class in lines[0] and "6 forward passes a process instead of " in lines[0]
        assert 0 < row.packing_efficiency <= 1 / 2 and row.balance == 1
