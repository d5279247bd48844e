"""Answer prompts with transformers: token by token in left-padded batches, on one GPU or the CPU."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from sciriff.config import EngineConfig
from sciriff.models.engines import COMPUTES_NAN, Answer, Request, Sampling
from sciriff.models.engines.families import by_family
from sciriff.models.engines.likelihoods import scored
from sciriff.models.engines.padded import padded
from sciriff.models.engines.sampling import random_bits
from sciriff.models.engines.stop_strings import StopStrings, Watched
from sciriff.models.engines.thinking import Thinking, WatchedThought
from sciriff.models.loading import load_model, load_tokenizer
from sciriff.run.messages import show
from sciriff.run.user_error import UserError

T = TypeVar("T")


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


def plan_general_batches(prompts: list[list[int]], limits: list[int], engine: EngineConfig) -> list[list[int]]:
    """Batch prompts of which many begin alike: as `plan_batches`, and a batch has such prompts only."""

    def plan(places: list[int]) -> list[list[int]]:
        planned = plan_batches([prompts[place] for place in places], [limits[place] for place in places], engine)
        return [[places[number] for number in batch] for batch in planned]

    return by_family(prompts, limits, plan)


def generate(request: Request) -> Iterator[list[Answer]]:
    """Yield the answers of each batch once the whole batch is finished."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, request.model.dtype)
    model: Any = load_model(request.model, seed=request.seed, dtype=dtype).to(device).eval()
    tokenizer = load_tokenizer(request.model) if request.stops or request.thoughts else None
    end_ids, thinking = request.end_ids, None
    if request.thoughts is not None:
        thinking = Thinking(request.thoughts, tokenizer, request.thinking, end_ids)

    stops = {place: StopStrings(tokenizer, strings) for place, strings in request.stops.items()}
    for batch in request.batches:
        if batch[0] in request.continuations:
            yield scored_or_halves(model, batch, request)
            continue
        prompts, limits = [request.prompts[place] for place in batch], [request.limits[place] for place in batch]
        shares = request.waits is not None and batch[0] >= request.waits
        found = [stops.get(place) for place in batch]
        sampling = part_of(request.sampling, batch)
        answers = continued_or_halves(model, prompts, limits, end_ids, sampling, found, shares, thinking)
        yield [
            Answer(place, ids, finish_reason(prompt, ids, end_ids, stop, thinking))
            for place, prompt, ids, stop in zip(batch, prompts, answers, found, strict=True)
        ]


def finish_reason(
    prompt: list[int],
    ids: list[int],
    end_ids: list[int],
    stop: StopStrings | None = None,
    thinking: Thinking | None = None,
) -> str:
    """`stop` if the model has ended this output, or written a stop string, else `length`."""
    if thinking is not None:
        return "stop" if thinking.ended(prompt, ids, stop) else "length"
    ended = bool(ids) and (ids[-1] in end_ids or (stop is not None and stop.end(ids)))
    return "stop" if ended else "length"


def part_of(sampling: Sampling | None, places: Sequence[int]) -> Sampling | None:
    """The sampling settings of a subset of the prompts; None for the last ones, which have none."""
    if sampling is None or places[0] >= len(sampling.streams):
        return None
    return replace(sampling, streams=[sampling.streams[place] for place in places])


def scored_or_halves(model: Any, batch: Sequence[int], request: Request) -> list[Answer]:
    """`scored`, halving the batch as `continued_or_halves`."""

    def score(places: Sequence[int]) -> list[Answer]:
        continuations = [request.continuations[place] for place in places]
        prompts = [request.prompts[place] for place in places]
        return scored(model, list(places), prompts, continuations, last_only(model), request.engine.batch_tokens)

    def numbers(place: int) -> str:
        longest = max(map(len, request.continuations[place]))
        return f"a prompt of {len(request.prompts[place])} tokens with a continuation of {longest}"

    return in_halves(score, batch, numbers)


def continued_or_halves(
    model: Any,
    prompts: list[list[int]],
    limits: Sequence[int],
    end_ids: list[int],
    sampling: Sampling | None = None,
    stops: Sequence[StopStrings | None] = (),
    share: bool = False,
    thinking: Thinking | None = None,
) -> list[list[int]]:
    """`continued`, halving the batch as often as needed to fit the GPU's memory. UserError if one prompt does not."""

    def answer(rows: Sequence[int]) -> list[list[int]]:
        some = [prompts[row] for row in rows], [limits[row] for row in rows]
        stop = [stops[row] for row in rows] if stops else ()
        return continued(model, *some, end_ids, part_of(sampling, rows), stop, share, thinking)

    def numbers(row: int) -> str:
        most = thinking.longest(limits[row]) if thinking else limits[row]
        return f"a prompt of {len(prompts[row])} tokens with an answer of up to {most}"

    return in_halves(answer, range(len(prompts)), numbers)


def in_halves(
    answer: Callable[[Sequence[int]], list[T]],
    rows: Sequence[int],
    numbers: Callable[[int], str],
    remedy: str = "choose engine=vllm, a smaller model or a smaller model.shape.context",
) -> list[T]:
    """Answer these rows, in halves where they do not fit the GPU's memory together. UserError with the `numbers` of a
    row that does not fit alone, and the `remedy`."""
    try:
        return answer(rows)
    except torch.cuda.OutOfMemoryError:
        if len(rows) == 1:
            raise UserError(f"{numbers(rows[0])} tokens does not fit in the GPU's memory; {remedy}") from None
    # Outside the except clause, whose traceback keeps the failed batch's tensors alive.
    torch.cuda.empty_cache()
    half = len(rows) // 2
    show(f"{len(rows)} prompts do not fit in memory together; trying {half}")
    return [
        *in_halves(answer, rows[:half], numbers, remedy),
        *in_halves(answer, rows[half:], numbers, remedy),
    ]


def last_only(model: Any) -> dict[str, int]:
    """Arguments for the last position's logits alone; all of them are a tensor of rows x tokens x vocabulary."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


@torch.no_grad()
def decoded(
    model: Any,
    prompts: list[list[int]],
    limits: Sequence[int],
    end_ids: list[int],
    sampling: Sampling | None = None,
    stops: Sequence[StopStrings | None] = (),
    share: bool = False,
    thinking: Thinking | None = None,
) -> list[list[int]]:
    """Continue each prompt greedily or with `sampling`, up to and including a token of `end_ids` or that in which one
    of its stop strings is complete, by at most its number of tokens in `limits`. UserError if the model computes NaN.

    Not by `model.generate`, which reads unset options from the model's generation_config.json, draws from one generator
    for the whole batch, and computes finished rows until the last one ends. With `share` a common beginning of the
    prompts is computed once. With `thinking` an output may begin with a thought, which no stop string ends.
    """
    last = last_only(model)
    inputs = padded(model, prompts, last, share)
    answers: list[list[int]] = [[] for _ in prompts]
    given = stops or [None] * len(prompts)
    watched: list[Watched | WatchedThought | None]
    if thinking is None:
        watched = [None if stop is None else Watched(stop) for stop in given]
    else:
        watched = [thinking.watch(*each) for each in zip(prompts, limits, given, strict=True)]
    alive = list(range(len(prompts)))
    for step in range(thinking.longest(max(limits)) if thinking else max(limits)):
        output = model(**inputs.arguments(), **last)
        inputs.go_on_from(output)
        logits = output.logits[:, -1]
        if step == 0 and logits.isnan().any():
            raise UserError(COMPUTES_NAN)
        drawn = sampling and part_of(sampling, alive)
        chosen = logits.argmax(dim=-1) if drawn is None else draw(logits, drawn, step)
        for row, token in zip(alive, chosen.tolist(), strict=True):
            answers[row].append(token)
        unfinished = [not _finished(answers[row], limits[row], end_ids, watched[row]) for row in alive]
        if not any(unfinished):
            break
        if not all(unfinished):
            kept = torch.tensor(unfinished, device=logits.device).nonzero().flatten()
            alive = [row for row, more in zip(alive, unfinished, strict=True) if more]
            inputs.cache.reorder_cache(kept)  # every kind of layer has it, states of hybrids too
            chosen, inputs.mask, inputs.positions = chosen[kept], inputs.mask[kept], inputs.positions[kept]
        inputs.ids = chosen[:, None]
        inputs.positions = inputs.positions[:, -1:] + 1
        inputs.mask = torch.cat([inputs.mask, inputs.mask.new_ones(len(alive), 1)], dim=1)
    return answers


continued = torch.inference_mode()(decoded)
"""`decoded`, a little faster, for a model that is not trained on: what it leaves behind has no use for autograd."""


def _finished(answer: list[int], limit: int, end_ids: list[int], watched: Watched | WatchedThought | None) -> bool:
    """Whether an answer is finished. What it has after a stop string is cut off."""
    if isinstance(watched, WatchedThought):
        end = watched.end(answer)
        del answer[len(answer) if end is None else end :]
        return end is not None
    ended = answer[-1] in end_ids or len(answer) >= limit
    if watched is None or (stop := watched.stop(answer, ended)) is None:
        return ended
    del answer[stop:]
    return True


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
