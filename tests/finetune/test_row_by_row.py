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
from sciriff.finetune import attention, packing_check, schedule
from sciriff.finetune.loop import Trainer
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

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
ALWAYS = ("gpt_oss", "qwen3_next")
"""Families whose tests are not slow: a packed one and one whose rows go one by one."""


@pytest.fixture
def family(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """`family("mistral", ...)` makes a run folder for training a tiny model of this family."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    def run(name: str, **values: Any) -> RunDir:
        folder = tmp_path / name
        if not folder.exists():
            tiny_families.save(name, folder, SAMPLE / "tokenizer", scale=4.0)
        return make(f"run-{name}-{len(values)}", model=tiny_model(path=str(folder), tokenizer=None), **values)

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


@pytest.mark.slow
def test_kernels_that_are_told_where_rows_begin_let_a_hybrid_be_packed(
    family: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In place of causal-conv1d's and flash-linear-attention's, which need a GPU, functions that heed the same
    arguments and compute row by row."""
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen3_next

    conv, delta_rule = qwen3_next.causal_conv1d_fn, qwen3_next.torch_chunk_gated_delta_rule

    def packed_conv(states: torch.Tensor, *others: Any, seq_idx: Any = None, **settings: Any) -> torch.Tensor:
        lengths = (
            [states.shape[2]] if seq_idx is None else seq_idx[0].unique_consecutive(return_counts=True)[1].tolist()
        )
        return torch.cat([conv(part, *others, **settings) for part in states.split(lengths, dim=2)], dim=2)

    def packed_delta_rule(*states: torch.Tensor, g: Any, beta: Any, cu_seqlens: Any = None, **settings: Any) -> Any:
        lengths = [g.shape[1]] if cu_seqlens is None else cu_seqlens.diff().tolist()
        settings.pop("seq_idx", None)
        rows = zip(*(part.split(lengths, dim=1) for part in (*states, g, beta)), strict=True)
        outputs = [delta_rule(*row[:-2], g=row[-2], beta=row[-1], **settings) for row in rows]
        return torch.cat([output for output, _ in outputs], dim=1), None

    monkeypatch.setattr(qwen3_next, "causal_conv1d_fn", packed_conv)
    monkeypatch.setattr(qwen3_next, "torch_chunk_gated_delta_rule", packed_delta_rule)
    one = trainer(family("qwen3_next"))
    assert one.model.boundaries and not one.model.one_by_one
    assert "one by one" not in capsys.readouterr().out
    rows = one.rows[schedule.step_rows(0, len(one.rows), 6, one.config.seed)]
    row, _ = one.optimizer_step(0)
    monkeypatch.undo()
    loss, norm = own_loss(one.run, rows)
    assert row.loss == pytest.approx(loss, abs=1e-4)
    assert row.grad_norm == pytest.approx(norm, rel=1e-3)


def test_eager_attention_that_leaks_is_computed_row_by_row_and_not_advised(
    family: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers' mask of gpt-oss does not look at positions that restart."""
    one = trainer(family("gpt_oss", attention="eager"))
    assert one.model.one_by_one
    printed = capsys.readouterr().out
    assert "GptOssForCausalLM: rows are computed one by one" in printed
    assert "train.attention=eager" not in printed


class BesideAnother(Workers):
    """A rank beside another whose check came out differently: what it gathers has the other's verdict too."""

    def __init__(self, *arguments: Any, other: Any) -> None:
        super().__init__(*arguments)
        self.other = other

    def gather(self, items: list[Any]) -> list[Any]:
        """Losses beside losses, and reasons beside reasons."""
        return [*items, self.other] if isinstance(items[0], tuple) == isinstance(self.other, tuple) else items


def test_what_one_rank_finds_holds_for_all(make: Make):
    """A threshold may lie between the roundings of two ranks, which would then wait for each other for ever."""
    run = make("llama")
    config = configuration.load(run.config)
    one = Trainer(config, run, Workers(config))
    assert not one.model.one_by_one
    length = int(one.data.lengths.max())
    alone = BesideAnother(config, other=(2.0, 2.0))
    packing_check._check_single_rows(one.model, one.backend, config.train, one.vocabulary, length, alone)
    alone.other = (2.0, 3.0)
    with pytest.raises(UserError, match="the loss of one row is 2 "):
        packing_check._check_single_rows(one.model, one.backend, config.train, one.vocabulary, length, alone)
    leaks = BesideAnother(config, other="since it leaks on the other rank")
    assert packing_check.settle(one.model, one.backend, config.train, one.vocabulary, length, leaks) == leaks.other
    assert one.model.one_by_one
