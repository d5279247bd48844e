"""Answer prompts with transformers: token by token in left-padded batches, on one GPU or the CPU."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sciriff.config import EngineConfig
from sciriff.models.engines import COMPUTES_NAN, Answer, Request, Sampling
from sciriff.models.engines.sampling import random_bits
from sciriff.models.loading import load_model
from sciriff.run.user_error import UserError


def settings(engine: EngineConfig) -> list[int]:
    """Engine settings that an answer depends on."""
    return [engine.batch_tokens]


def plan_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """Batch the prompts (by position) so that padded prompts and answers take at most `engine.batch_tokens` tokens; a
    longer prompt gets a batch of its own. Longest first, so that running out of memory shows in the first minute."""
    batches: list[list[int]] = []
    longest, most = 0, 0
    for place in sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]) - limits[place], place)):
        longest, most = max(longest, len(prompts[place])), max(most, limits[place])
        if batches and (longest + most) * (len(batches[-1]) + 1) <= engine.batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
            longest, most = len(prompts[place]), limits[place]
    return batches


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield the answers of each batch once the whole batch is finished."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, request.model.dtype)
    model: Any = load_model(request.model, seed=request.seed, dtype=dtype).to(device).eval()
    for batch in request.batches:
        prompts, limits = [request.prompts[place] for place in batch], [request.limits[place] for place in batch]
        answers = continued_or_halves(model, prompts, limits, request.end_ids, part_of(request.sampling, batch))
        yield [
            Answer(place, ids, "stop" if ids and ids[-1] in request.end_ids else "length")
            for place, ids in zip(batch, answers, strict=True)
        ]


def part_of(sampling: Sampling | None, places: Sequence[int]) -> Sampling | None:
    """The sampling settings of a subset of the prompts."""
    return sampling and replace(sampling, streams=[sampling.streams[place] for place in places])


def continued_or_halves(
    model: Any, prompts: list[list[int]], limits: Sequence[int], end_ids: list[int], sampling: Sampling | None = None
) -> list[list[int]]:
    """`continued`, halving the batch as often as needed to fit the GPU's memory. UserError if one prompt does not."""
    try:
        return continued(model, prompts, limits, end_ids, sampling)
    except torch.cuda.OutOfMemoryError:
        if len(prompts) == 1:
            raise UserError(
                f"a prompt of {len(prompts[0])} tokens with an answer of up to eval.max_new_tokens={limits[0]} "
                "does not fit in the GPU's memory; choose engine=vllm, a smaller model or a smaller model.shape.context"
            ) from None
    # Outside the except clause, whose traceback keeps the failed batch's tensors alive.
    torch.cuda.empty_cache()
    half = len(prompts) // 2
    print(f"{len(prompts)} prompts do not fit in memory together; trying {half}", flush=True)
    return [
        answer
        for part in (range(half), range(half, len(prompts)))
        for answer in continued_or_halves(
            model, [prompts[row] for row in part], [limits[row] for row in part], end_ids, part_of(sampling, part)
        )
    ]


@torch.inference_mode()
def continued(
    model: Any, prompts: list[list[int]], limits: Sequence[int], end_ids: list[int], sampling: Sampling | None = None
) -> list[list[int]]:
    """Continue each prompt greedily or with `sampling`, up to and including a token of `end_ids`, by at most its number
    of tokens in `limits`. UserError if the model computes NaN.

    Not by `model.generate`, which reads unset options from the model's generation_config.json, draws from one generator
    for the whole batch, and computes finished rows until the last one ends.
    """
    device = next(model.parameters()).device
    longest = max(len(prompt) for prompt in prompts)
    # Padding is never attended to, so any token will do.
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    # Only the last position's logits are needed; all of them are a tensor of rows x tokens x vocabulary.
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    answers: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    cache = None
    for step in range(max(limits)):
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        output = model(**inputs, use_cache=True, **last_only)
        cache = output.past_key_values
        logits = output.logits[:, -1]
        if step == 0 and logits.isnan().any():
            raise UserError(COMPUTES_NAN)
        drawn = part_of(sampling, alive)
        chosen = logits.argmax(dim=-1) if drawn is None else draw(logits, drawn, step)
        for row, token in zip(alive, chosen.tolist(), strict=True):
            answers[row].append(token)
        unfinished = [answers[row][-1] not in end_ids and len(answers[row]) < limits[row] for row in alive]
        if not any(unfinished):
            break
        if not all(unfinished):
            kept = torch.tensor(unfinished, device=device).nonzero().flatten()
            alive = [row for row, more in zip(alive, unfinished, strict=True) if more]
            cache.batch_select_indices(kept)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
        ids = chosen[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return answers


def draw(logits: torch.Tensor, sampling: Sampling, step: int) -> torch.Tensor:
    """Draw a token for each row of `logits` [rows, vocabulary] from the row's own random stream.

    The argmax of scores with added Gumbel noise is a draw from their softmax (Maddison et al. 2014, "A* sampling"). So
    the rest of the batch changes a token only if two scores are nearly equal, as in greedy decoding.
    """
    scores = most_likely(logits.double() / sampling.temperature, sampling.top_p)
    bits = np.stack([random_bits(stream, step, logits.shape[1]) for stream in sampling.streams])
    uniform = (torch.from_numpy(bits).to(logits.device).double() + (2**31 + 0.5)) / 2**32
    return (scores - (-uniform.log()).log()).argmax(dim=-1)


def most_likely(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set all scores to -inf except those of the smallest set of most likely tokens with `top_p` of the probability
    (nucleus sampling, Holtzman et al. 2020). Shape [rows, vocabulary]."""
    if top_p >= 1:
        return scores
    ranked, tokens = scores.sort(dim=-1, descending=True, stable=True)
    shares = ranked.softmax(dim=-1)
    ranked[shares.cumsum(dim=-1) - shares >= top_p] = -torch.inf
    return torch.empty_like(scores).scatter(-1, tokens, ranked)
