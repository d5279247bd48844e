"""Log-likelihoods of continuations are those of a plain forward pass over prompt and continuation."""

import math
import random
from typing import Any

import pytest
import torch
from predict_runs import tiny_model
from transformers import MistralConfig, MistralForCausalLM

from sciriff.config import EngineConfig
from sciriff.models.engines import Answer, Request, scored_answer
from sciriff.models.engines.families import shared_tokens
from sciriff.models.engines.likelihoods import scored
from sciriff.models.engines.transformers import continued, last_only, scored_or_halves
from sciriff.models.loading import load_model

LETTERS = [[65], [66], [67], [68]]


def lively(model: Any) -> Any:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return lively(load_model(tiny_model(), seed=1, dtype=torch.float32, attention="sdpa"))


@pytest.fixture(scope="module")
def windowed() -> Any:
    """A model whose layers look back at most 16 tokens."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 4096}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return lively(MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=16)))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    draw = random.Random(5)
    examples = [draw.randrange(10, 4096) for _ in range(50)]
    return [[*examples, *(draw.randrange(10, 4096) for _ in range(length))] for length in (3, 30, 1, 17)]


@pytest.fixture(scope="module")
def continuations(model: Any, prompts: list[list[int]]) -> list[list[list[int]]]:
    """Letters, several tokens of several lengths, and what the model itself writes."""
    draw = random.Random(6)
    own = [answer for prompt in prompts for answer in continued(model, [prompt], [4], [])]
    mixed = [[draw.randrange(10, 4096) for _ in range(length)] for length in (1, 2, 7)]
    return [LETTERS, [*mixed, own[1]], [own[2][:1], own[2][:3]], [*LETTERS, own[3]]]


def plainly(model: Any, prompt: list[int], continuation: list[int]) -> tuple[float, bool]:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + continuation])).logits[0, len(prompt) - 1 : -1]
    wanted = torch.tensor(continuation)
    values = logits.float().log_softmax(dim=-1).gather(1, wanted[:, None])
    return float(values.sum()), bool((logits.argmax(dim=-1) == wanted).all())


def check(model: Any, answers: list[Answer], prompts: list[list[int]], continuations: list[list[list[int]]]) -> None:
    for answer, prompt, several in zip(answers, prompts, continuations, strict=True):
        plain = [plainly(model, prompt, one) for one in several]
        assert answer.log_likelihoods == pytest.approx([value for value, _ in plain], abs=2e-3, rel=1e-4)
        assert answer.greedy == [greedy for _, greedy in plain]
        assert (answer.finish_reason, answer.token_ids) == ("scored", [])


@pytest.mark.parametrize("batch_tokens", [16384, 150, 1])
def test_a_batch_with_a_common_beginning_scores_as_each_alone(
    model: Any, prompts: list[list[int]], continuations: list[list[list[int]]], batch_tokens: int
) -> None:
    assert shared_tokens(prompts) == 50
    answers = scored(model, [4, 5, 6, 7], prompts, continuations, last_only(model), batch_tokens)
    assert [answer.place for answer in answers] == [4, 5, 6, 7]
    check(model, answers, prompts, continuations)
    assert any(any(answer.greedy) for answer in answers)


def test_prompts_without_a_common_beginning(model: Any, continuations: list[list[list[int]]]) -> None:
    prompts = [[9], [11, 12, 13], [14] * 40, [15, 16]]
    check(model, scored(model, [0, 1, 2, 3], prompts, continuations, last_only(model), 16384), prompts, continuations)


def test_layers_with_a_window_see_no_padding_in_it(
    windowed: Any, prompts: list[list[int]], continuations: list[list[list[int]]]
) -> None:
    answers = scored(windowed, [0, 1, 2, 3], prompts, continuations, last_only(windowed), 16384)
    check(windowed, answers, prompts, continuations)


def test_answers_after_a_common_beginning_are_those_of_each_alone(model: Any, prompts: list[list[int]]) -> None:
    alone = [continued(model, [prompt], [30], end_ids=[2])[0] for prompt in prompts]
    assert continued(model, prompts, [30] * 4, end_ids=[2], share=True) == alone


def test_a_batch_that_does_not_fit_is_halved(
    model: Any, prompts: list[list[int]], continuations: list[list[list[int]]]
) -> None:
    class Small(torch.nn.Module):
        """A model on a GPU whose memory holds two rows."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.inner = model
            self.config = model.config
            self.rows = rows

        def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
            if len(input_ids) > self.rows:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return self.inner(input_ids=input_ids, **rest)

    request = Request(
        model=tiny_model(),
        engine=EngineConfig(name="transformers", batch_tokens=1),
        prompts=prompts,
        limits=[7] * 4,
        batches=[],
        context=256,
        end_ids=[2],
        seed=0,
        continuations=dict(enumerate(continuations)),
    )
    check(model, scored_or_halves(Small(2), [0, 1, 2, 3], request), prompts, continuations)
    with pytest.raises(ValueError, match="a prompt of 53 tokens with a continuation of 1 tokens does not fit"):
        scored_or_halves(Small(0), [0, 1, 2, 3], request)


def test_nan_is_refused_and_a_probability_of_0_is_a_number() -> None:
    with pytest.raises(ValueError, match="NaN"):
        scored_answer(3, [-1.0, math.nan], [False, False])
    answer = scored_answer(3, [-math.inf, -1.0], [False, True])
    assert math.isfinite(answer.log_likelihoods[0])
    assert answer.log_likelihoods[1:] == [-1.0]
