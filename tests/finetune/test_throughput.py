from pathlib import Path

import pytest
import torch
from finetune_runs import tiny_model

from sciriff.finetune.throughput import (
    attention_layers,
    attention_width,
    matrix_parameters,
    peak_flops,
    peak_memory,
    sequence_flops,
)
from sciriff.models.loading import load_model


def test_a_sequences_operations_by_hand() -> None:
    # One layer of width 2, 10 weights: 6 * 10 a token, and half of 12 * 2 * length a token for attention.
    assert sequence_flops(10, 3, layers=1, attention_width=2) == 6 * 10 * 3 + 6 * 2 * 9


def test_a_7b_llama_needs_about_six_operations_a_weight_and_token() -> None:
    flops = sequence_flops(6_607_000_000, 4096, layers=32, attention_width=4096)
    assert 6 * 6.6e9 < flops / 4096 < 6 * 7.2e9


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_that_is_only_looked_up_does_not_count(tied: bool) -> None:
    settings = tiny_model()
    settings.shape.tied_embeddings = tied
    model = load_model(settings, seed=0, dtype=torch.float32)
    table = settings.shape.vocabulary * settings.shape.hidden
    assert matrix_parameters(model) == settings.shape.parameters - (0 if tied else table)
    assert attention_width(model.config) == 64


def test_of_experts_those_of_a_token_count_and_of_a_hybrid_the_layers_that_attend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import tiny_families
    from transformers import AutoModelForCausalLM

    def built(family: str) -> torch.nn.Module:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(tiny_families.FAMILIES[family](512))

    mixture = built("mixtral")
    hidden, layers = mixture.config.hidden_size, mixture.config.num_hidden_layers
    experts = layers * 4 * 3 * hidden * mixture.config.intermediate_size
    every = sum(weight.numel() for weight in mixture.parameters()) - 512 * hidden
    assert matrix_parameters(mixture) == every - experts // 2, "two of four"
    assert attention_layers(mixture) == layers
    assert attention_layers(built("qwen3_5")) == 1, "of two"
    assert attention_layers(built("mamba2")) == 0


def test_a_cpu_has_no_peak() -> None:
    assert peak_flops(torch.device("cpu"), "bf16") is None
    assert peak_memory(torch.device("cpu")) is None
