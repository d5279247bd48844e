"""Thoughts with a budget of their own: what a batch writes is what each prompt would write, cut where it must end."""

import random
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from predict_runs import tiny_model
from thinking_models import threads

from sciriff.config import EngineConfig
from sciriff.models.engines import Request, Sampling
from sciriff.models.engines.stop_strings import StopStrings
from sciriff.models.engines.thinking import Thinking
from sciriff.models.engines.transformers import continued
from sciriff.models.engines.vllm import Stopped
from sciriff.models.loading import load_model, load_tokenizer
from sciriff.models.thoughts import THINK, Thoughts

EOS = 2
LIMIT = 12
LONGEST = 46


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="module")
def model() -> Any:
    model = load_model(tiny_model(), seed=1, dtype=torch.float32, attention="sdpa").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    draw = random.Random(7)
    return [[draw.randrange(10, 4096) for _ in range(length)] for length in (3, 60, 17, 9, 1, 33, 25, 40)]


@pytest.fixture(scope="module")
def free(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    return continued(model, prompts, [LONGEST] * len(prompts), end_ids=[])


@pytest.fixture(scope="module")
def thoughts(free: list[list[int]]) -> Thoughts:
    """The prompt begins a thought; a token that the model writes now and then ends it."""
    end = free[0][9]
    return Thoughts(THINK, (4000,), (end,), None, frozenset(), frozenset(), opened=True)


def expected(whole: list[int], end: int, budget: int, limit: int, ends: tuple[int, ...]) -> tuple[list[int], str]:
    """An output by the plain words of the rule."""
    begins = whole.index(end) + 1 if end in whole else LONGEST + 1
    first_end = next((at for at, token in enumerate(whole) if token in ends), LONGEST) + 1
    within = min(first_end, begins)
    if within > (budget or limit):
        return whole[: budget or limit], "length"
    if first_end <= begins:
        return whole[:first_end], "stop"
    last = begins + limit if budget else limit
    return (whole[:first_end], "stop") if first_end <= last else (whole[:last], "length")


@pytest.mark.parametrize("budget", [0, 10, 30])
def test_each_output_ends_where_its_thought_or_its_answer_must(
    model: Any, prompts: list[list[int]], free: list[list[int]], thoughts: Thoughts, budget: int
) -> None:
    ends = (free[3][14], free[5][3])
    thinking = Thinking(thoughts, load_tokenizer(tiny_model()), budget, ends)
    limits = [LIMIT] * len(prompts)
    found = continued(model, prompts, limits, [*ends], thinking=thinking)
    due = [expected(whole, thoughts.end[0], budget, LIMIT, ends) for whole in free]
    assert found == [ids for ids, _ in due]
    assert [thinking.ended([], ids, None) for ids in found] == [reason == "stop" for _, reason in due]
    assert continued(model, prompts[2:5], limits[2:5], [*ends], thinking=thinking) == found[2:5]
    # the other engine brings the tokens in pieces, and some too many
    request = Request(
        tiny_model(),
        EngineConfig(name="vllm"),
        prompts,
        limits,
        [],
        256,
        [*ends],
        0,
        thoughts=thoughts,
        thinking=budget,
    )
    for size in (1, 3):
        assert streamed(request, free, size) == [(place, ids, reason) for place, (ids, reason) in enumerate(due)]
    if budget:
        assert request.longest == [LIMIT + budget] * len(prompts)
        assert streamed(replace(request, thoughts=None, stops={0: ("never",)}), free[:1], 1) is not None


def streamed(request: Request, free: list[list[int]], size: int) -> list[tuple[int, list[int], str]]:
    """What is read of an engine's outputs that come `size` tokens at a time."""
    aborted: list[str] = []
    stopped = Stopped(SimpleNamespace(abort_request=aborted.extend), request)
    found = []
    for place, whole in enumerate(free):
        if request.thoughts is not None and not request.thinking:
            stopped._all = True
        assert stopped.watches(place)
        stopped.watch(place)
        whole = whole[: request.longest[place]]
        for at in range(0, len(whole), size):
            reason = "length" if at + size >= len(whole) else None
            piece = SimpleNamespace(token_ids=whole[at : at + size], finish_reason=reason)
            answer = stopped.read(SimpleNamespace(request_id=str(place), outputs=[piece]))
            if answer is not None:
                assert (str(place) in aborted) == (reason is None)
                found.append((answer.place, answer.token_ids, answer.finish_reason))
                break
        assert not stopped.has(str(place))
    return found


def test_no_stop_string_ends_a_thought(
    model: Any, prompts: list[list[int]], free: list[list[int]], thoughts: Thoughts
) -> None:
    tokenizer = load_tokenizer(tiny_model())
    thinking = Thinking(thoughts, tokenizer, 30, [])
    whole = free[0]
    begins = whole.index(thoughts.end[0]) + 1
    stop = StopStrings(tokenizer, [tokenizer.decode([whole[4]]).strip()])
    assert stop.end(whole[:5])
    (found,) = continued(model, prompts[:1], [LIMIT], [], stops=[stop], thinking=thinking)
    assert len(found) > begins
    after = stop.find(whole[begins : begins + LIMIT])
    assert found == whole[: begins + (after or LIMIT)]


def test_samples_are_the_same_with_a_budget_as_long_as_it_lasts(
    model: Any, prompts: list[list[int]], thoughts: Thoughts
) -> None:
    drawn = Sampling(0.8, 0.9, [11, 12, 13])
    whole = continued(model, prompts[:3], [24] * 3, [], sampling=drawn)
    thinking = Thinking(thoughts, load_tokenizer(tiny_model()), 12, [])
    found = continued(model, prompts[:3], [12] * 3, [], sampling=drawn, thinking=thinking)
    assert all(ids == long[: len(ids)] and len(ids) >= 12 for ids, long in zip(found, whole, strict=True))
