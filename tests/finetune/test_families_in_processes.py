"""Hybrids and mixtures of experts under ZeRO-3, where ranks with unequal numbers of forwards would wait for ever."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from finetune_runs import losses, made_up_rows, steps_of, tiny_model, train, validations

from sciriff.config import SAMPLE
from sciriff.data.token_file import write_token_file
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]
ROOT = Path(__file__).parents[2]
DEEPSPEED_TIMEOUT = 500


@pytest.fixture
def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
@pytest.mark.parametrize(
    ("name", "gpu_memory"),
    [("qwen3_next", None), ("granitemoehybrid", 80), ("mixtral", None), ("olmoe", 80)],
)
def test_unequal_rows_and_idle_experts_do_not_hang_zero_3(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gpu_memory: float | None
) -> None:
    """Three rows a step: one rank has two of them, and the other an empty micro-batch, whose only token leaves half of
    the experts idle. The losses are those of one process without DeepSpeed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    folder = tmp_path / name
    tiny_families.save(name, folder, SAMPLE / "tokenizer", scale=3.0)
    hybrid = name in ("qwen3_next", "granitemoehybrid")
    settings = {
        "model": tiny_model(path=str(folder), tokenizer=None),
        "global_batch_size": 3,
        "max_steps": 4,
        "max_length": 60,
    }
    # Long rows, of which 60 tokens hold only one: packed or not, there are two micro-batches for three rows.
    settings |= {"micro_batch_tokens": 60, "validation": 5, "eval_every": 2}
    one, two = make("one", **settings), make("two", **settings, num_processes=2, zero_stage=3)
    for run in (one, two):
        write_token_file(run.tokens, [row for row in made_up_rows(60) if len(row[1]) > 30])
        write_token_file(run.validation_tokens, made_up_rows(5, seed=1))
    assert ("rows are computed one by one" in train(one)) == hybrid
    output = train(two, timeout=DEEPSPEED_TIMEOUT, gpu_memory=gpu_memory)
    assert output.count("rows are computed one by one") == hybrid
    assert ("2 forward passes a process instead of 2" in output) == hybrid
    assert json.loads(two.deepspeed.read_text())["zero_optimization"]["stage"] == 3
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    norms = [[row["grad_norm"] for row in steps_of(run)] for run in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    for measured, reference in zip(validations(two), validations(one), strict=True):
        assert measured == pytest.approx(reference, abs=1e-4)
