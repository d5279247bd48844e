"""Log-likelihoods of continuations with transformers: one forward pass over the prompts of a batch gives those of all
first tokens; longer continuations go on from its cache."""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from sciriff.models.engines import Answer, scored_answer
from sciriff.models.engines.padded import Inputs, padded

LOGITS = 1024
"""Most positions whose logits are in memory at a time, unless one continuation is longer: half a gigabyte of a
vocabulary of 128,000."""


@torch.inference_mode()
def scored(
    model: Any,
    places: list[int],
    prompts: list[list[int]],
    continuations: list[list[list[int]]],
    last_only: dict[str, int],
    batch_tokens: int,
) -> list[Answer]:
    """Score the continuations of each prompt, in float32. UserError if the model computes NaN."""
    inputs = padded(model, prompts, last_only, share=True)
    output = model(**inputs.arguments(), **last_only)
    inputs.go_on_from(output)
    log_probabilities, best = _first(output.logits[:, -1])
    sums = [[0.0] * len(several) for several in continuations]
    greedy = [[True] * len(several) for several in continuations]
    longer: list[tuple[int, int, list[int]]] = []
    for row, several in enumerate(continuations):
        firsts = log_probabilities[row, torch.tensor([tokens[0] for tokens in several], device=best.device)].tolist()
        for number, tokens in enumerate(several):
            sums[row][number] = firsts[number]
            greedy[row][number] = tokens[0] == int(best[row])
            if len(tokens) > 1:
                longer.append((row, number, tokens))
    for chunk in _chunks(longer, len(inputs.mask[0]), batch_tokens):
        rows = torch.tensor([row for row, _, _ in chunk], device=best.device)
        rest = _rest(model, inputs, rows, [tokens for _, _, tokens in chunk])
        for (row, number, _), (values, likely) in zip(chunk, rest, strict=True):
            sums[row][number] += sum(values)
            greedy[row][number] &= likely
    return [scored_answer(*answer) for answer in zip(places, sums, greedy, strict=True)]


def _first(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, in float32, and the most likely token of each row."""
    return logits.float().log_softmax(dim=-1), logits.argmax(dim=-1)


def _chunks(
    longer: list[tuple[int, int, list[int]]], prompt: int, batch_tokens: int
) -> Iterator[list[tuple[int, int, list[int]]]]:
    """Share out continuations, longest first, so that each chunk takes no more memory than a batch of prompts."""
    chunk: list[tuple[int, int, list[int]]] = []
    longest = 0
    for one in sorted(longer, key=lambda one: (-len(one[2]), one[0], one[1])):
        longest = max(longest, len(one[2]))
        count = len(chunk) + 1
        if chunk and (count * (prompt + longest) > batch_tokens or count * longest > LOGITS):
            yield chunk
            chunk, longest = [], len(one[2])
        chunk.append(one)
    if chunk:
        yield chunk


def _rest(
    model: Any, inputs: Inputs, rows: torch.Tensor, continuations: list[list[int]]
) -> Iterator[tuple[list[float], bool]]:
    """For each continuation, of the prompt at its number in `rows`, the log-likelihoods of all tokens but the first
    and whether each is the most likely one."""
    longest = max(map(len, continuations)) - 1
    device = rows.device
    # Padded on the right, where no token looks.
    ids = torch.tensor([tokens[:-1] + [0] * (longest + 1 - len(tokens)) for tokens in continuations], device=device)
    mask = torch.tensor([[1] * (len(t) - 1) + [0] * (longest + 1 - len(t)) for t in continuations], device=device)
    cache = copy.deepcopy(inputs.cache)  # the next chunk begins there too
    cache.batch_select_indices(rows)
    more = Inputs(
        ids=ids,
        mask=torch.cat([inputs.mask[rows], mask], dim=1),
        positions=inputs.positions[rows, -1:] + 1 + torch.arange(longest, device=device),
        cache_name=inputs.cache_name,
        cache=cache,
    )
    logits = model(**more.arguments()).logits
    for row, tokens in enumerate(continuations):
        log_probabilities, best = _first(logits[row, : len(tokens) - 1])
        wanted = torch.tensor(tokens[1:], device=device)
        yield log_probabilities.gather(1, wanted[:, None]).flatten().tolist(), bool((best == wanted).all())
