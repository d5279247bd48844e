"""Answer prompts with transformers: greedy decoding in left-padded batches, on one GPU or the CPU."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from sciriff.config import EngineConfig
from sciriff.predict.engines import Answer, Request
from sciriff.pretrained import load_model


def settings(engine: EngineConfig) -> list[int]:
    """What of the engine's settings an answer depends on."""
    return [engine.batch_tokens]


def plan_batches(lengths: list[int], max_new_tokens: int, engine: EngineConfig) -> list[list[int]]:
    """Places of prompts, in batches whose padded prompts and answers take at most `engine.batch_tokens` tokens (one
    prompt may take more by itself). Longest first: what does not fit in memory fails in the first minute."""
    batches: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        if batches and (longest + max_new_tokens) * (len(batches[-1]) + 1) <= engine.batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
            longest = lengths[place]
    return batches


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield the answers of each batch when all of it is finished."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(
        request.model, seed=request.seed, dtype=getattr(torch, request.model.dtype), attention="sdpa"
    ).to(device)
    model.eval()
    for batch in request.batches:
        answers = greedy_or_halves(
            model, [request.prompts[place] for place in batch], request.max_new_tokens, request.end_ids
        )
        yield [
            Answer(place, ids, "stop" if ids and ids[-1] in request.end_ids else "length")
            for place, ids in zip(batch, answers, strict=True)
        ]


def greedy_or_halves(model: Any, prompts: list[list[int]], max_new_tokens: int, end_ids: list[int]) -> list[list[int]]:
    """`greedy`, in two halves (and so on) where the GPU's memory does not hold the batch."""
    try:
        return greedy(model, prompts, max_new_tokens, end_ids)
    except torch.cuda.OutOfMemoryError:
        if len(prompts) == 1:
            raise ValueError(
                f"a prompt of {len(prompts[0])} tokens with an answer of up to eval.max_new_tokens={max_new_tokens} "
                "does not fit in the GPU's memory; choose engine=vllm, a smaller model or a smaller model.shape.context"
            ) from None
    # Outside of the except clause, whose traceback would keep the failed batch's tensors alive.
    torch.cuda.empty_cache()
    half = len(prompts) // 2
    print(f"{len(prompts)} prompts do not fit in memory together; trying {half}", flush=True)
    return [
        answer
        for part in (prompts[:half], prompts[half:])
        for answer in greedy_or_halves(model, part, max_new_tokens, end_ids)
    ]


@torch.inference_mode()
def greedy(model: Any, prompts: list[list[int]], max_new_tokens: int, end_ids: list[int]) -> list[list[int]]:
    """The most likely continuation of each prompt, token by token, up to and with a token of `end_ids`.

    A loop of our own and not `model.generate`, which takes what it is not told (penalties, temperature) from the
    model's generation_config.json and computes finished rows until the last one of the batch ends.
    """
    device = next(model.parameters()).device
    longest = max(len(prompt) for prompt in prompts)
    # What pads is never attended to, so any token will do.
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    ends = torch.tensor(sorted(end_ids), device=device)
    # Only the last position is ever needed; all of them would be a tensor of rows x tokens x vocabulary.
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    answers: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    cache = None
    for step in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **last_only,
        )
        cache = output.past_key_values
        logits = output.logits[:, -1]
        if step == 0 and logits.isnan().any():
            raise ValueError(
                "the model computes NaN: its training diverged, or model.dtype has too small a range for it"
            )
        chosen = logits.argmax(dim=-1)
        for row, token in zip(alive, chosen.tolist(), strict=True):
            answers[row].append(token)
        going_on = (~torch.isin(chosen, ends)).nonzero().flatten()
        if len(going_on) == 0 or step == max_new_tokens - 1:
            break
        if len(going_on) < len(alive):
            alive = [alive[i] for i in going_on.tolist()]
            cache.batch_select_indices(going_on)
            chosen, mask, positions = chosen[going_on], mask[going_on], positions[going_on]
        ids = chosen[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return answers
