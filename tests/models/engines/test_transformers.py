"""Greedy decoding in batches gives what one prompt at a time gives."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from predict_runs import save_lively_model, tiny_model

from sciriff.config import EngineConfig
from sciriff.models.engines import Request, Sampling, stop_strings
from sciriff.models.engines.stop_strings import StopStrings
from sciriff.models.engines.transformers import continued, continued_or_halves, generate, plan_batches
from sciriff.models.loading import load_model, load_tokenizer


@pytest.fixture(scope="module")
def model() -> Any:
    # Weights ten times the usual size, or a random model repeats one token whatever the prompt.
    model = load_model(tiny_model(), seed=1, dtype=torch.float32, attention="sdpa").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    draw = random.Random(5)
    return [[draw.randrange(10, 4096) for _ in range(length)] for length in (3, 60, 17, 17, 1, 33)]


def test_a_batch_answers_as_each_prompt_alone(model: Any, prompts: list[list[int]]) -> None:
    alone = [continued(model, [prompt], [40], end_ids=[2])[0] for prompt in prompts]
    assert continued(model, prompts, [40] * len(prompts), end_ids=[2]) == alone
    assert len({tuple(answer) for answer in alone}) > 1
    assert len({token for answer in alone for token in answer}) > 20


def test_it_is_what_transformers_own_generation_gives(model: Any, prompts: list[list[int]]) -> None:
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=30,
            do_sample=False,
            eos_token_id=[2],
            pad_token_id=0,
        )
        assert continued(model, [prompt], [30], end_ids=[2]) == [output[0, len(prompt) :].tolist()]


@pytest.mark.parametrize("family", ["Mamba2", "Mamba", "FalconMamba"])
def test_a_state_space_model_goes_on_from_its_state(family: str, prompts: list[list[int]]) -> None:
    """Its forward pass names the state otherwise than others name their keys and values, which it passes over."""
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 4096, "state_size": 8}
    sizes |= {"num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8} if family == "Mamba2" else {}
    torch.manual_seed(1)
    model: Any = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**sizes)).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)
    answers = continued(model, prompts, [8] * len(prompts), end_ids=[])
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        for _ in range(8):
            with torch.no_grad():
                ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        assert answer == ids[0, len(prompt) :].tolist()
    assert len({tuple(answer) for answer in answers}) > 1


def test_an_end_token_ends_its_row_only(model: Any, prompts: list[list[int]]) -> None:
    free = continued(model, prompts, [40] * len(prompts), end_ids=[])
    assert all(len(answer) == 40 for answer in free)
    # The tenth token of the first answer ends every answer in which it occurs, there and not before.
    end = free[0][9]
    ended = continued(model, prompts, [40] * len(prompts), end_ids=[end, 2])
    for answer, whole in zip(ended, free, strict=True):
        stops = [i for i, token in enumerate(whole) if token in (end, 2)]
        assert answer == whole[: stops[0] + 1 if stops else 40]
    assert len(ended[0]) <= 10


def test_batches_hold_their_tokens_and_every_prompt_once() -> None:
    prompts = [[7] * length for length in (10, 90, 30, 30, 500, 20)]
    engine = EngineConfig(name="transformers", batch_tokens=200)
    batches = plan_batches(prompts, [10] * 6, engine)
    assert sorted(place for batch in batches for place in batch) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or (max(len(prompts[place]) for place in batch) + 10) * len(batch) <= 200
    assert batches == [[4], [1, 2], [3, 5, 0]]
    assert plan_batches([], [], engine) == []


def test_a_batch_that_does_not_fit_is_halved(model: Any, prompts: list[list[int]]) -> None:
    class Small(torch.nn.Module):
        """A model on a GPU whose memory holds two rows."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
            if len(input_ids) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return self.inner(input_ids=input_ids, **rest)

    assert continued_or_halves(Small(), prompts, [12] * len(prompts), [2]) == continued(
        model, prompts, [12] * len(prompts), [2]
    )

    class Full(Small):
        def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ValueError, match="a prompt of 3 tokens"):
        continued_or_halves(Full(), prompts, [12] * len(prompts), [2])


def test_a_model_that_computes_nan_is_refused(model: Any) -> None:
    class Diverged(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, **inputs: Any) -> Any:
            output = self.inner(**inputs)
            output.logits = output.logits * float("nan")
            return output

    with pytest.raises(ValueError, match="NaN"):
        continued(Diverged(), [[5, 6]], [4], [2])


def test_generate_yields_the_batches_that_are_left() -> None:
    request = Request(
        model=tiny_model(),
        engine=EngineConfig(name="transformers"),
        prompts=[[5, 6, 7], [8], [9, 10]],
        batches=[[2, 0]],
        limits=[3, 3, 3],
        context=64,
        end_ids=[2],
        seed=0,
    )
    (answers,) = generate(request)
    assert [answer.place for answer in answers] == [2, 0]
    assert all(answer.finish_reason in ("stop", "length") and 1 <= len(answer.token_ids) <= 3 for answer in answers)


@pytest.mark.parametrize("every", [1, 3, 8, 100])
def test_a_stop_string_ends_its_row_only_however_often_one_looks(
    model: Any, prompts: list[list[int]], every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_strings, "LOOK_EVERY", every)
    tokenizer = load_tokenizer(tiny_model())
    free = continued(model, prompts, [40] * len(prompts), end_ids=[2])
    middle = tokenizer.decode(free[0][9:12])
    stops = [StopStrings(tokenizer, [middle[:-1]]), None, *(StopStrings(tokenizer, ["e", "."]) for _ in prompts[2:])]
    stopped = continued(model, prompts, [40] * len(prompts), end_ids=[2], stops=stops)
    assert stopped == [
        whole[: stop and stop.find(whole)] if stop else whole for whole, stop in zip(free, stops, strict=True)
    ]
    assert 9 < len(stopped[0]) <= 12
    assert any(len(answer) < len(whole) for answer, whole in zip(stopped[2:], free[2:], strict=True))


def test_general_prompts_are_scored_or_answered_greedily_up_to_a_stop_string(tmp_path: Path) -> None:
    save_lively_model(tmp_path)
    model = replace(tiny_model(), path=str(tmp_path))
    request = Request(
        model=model,
        engine=EngineConfig(name="transformers"),
        prompts=[[5, 6, 7], [8], [9, 10], [8]],
        batches=[[0], [1], [2], [3]],
        limits=[30, 30, 3, 30],
        context=64,
        end_ids=[2],
        seed=0,
        sampling=Sampling(temperature=5.0, top_p=1.0, streams=[11]),
        stops={1: ("e", "a", " ")},
        continuations={2: [[7], [8, 9]]},
        waits=1,
    )
    answers = {answer.place: answer for batch in generate(request) for answer in batch}
    greedy = {answer.place: answer for batch in generate(replace(request, sampling=None)) for answer in batch}
    assert answers[0] != greedy[0]
    assert [answers[place] for place in (1, 2, 3)] == [greedy[place] for place in (1, 2, 3)]
    assert answers[1].token_ids == answers[3].token_ids[: len(answers[1].token_ids)]
    assert answers[1].finish_reason == "stop"
    assert len(answers[1].token_ids) < len(answers[3].token_ids)
    assert answers[2].finish_reason == "scored"
    assert len(answers[2].log_likelihoods) == len(answers[2].greedy) == 2
