"""Prompts that begin alike: batches of them, and how many tokens a batch has in common.

Few-shot prompts of a task differ in their last question only, so most of their tokens need computing once a batch.
"""

from collections.abc import Callable, Sequence

STEP = 64
"""Tokens of a prompt that take about as long as one more forward pass: more on a GPU, fewer on a CPU."""


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """Number of tokens that all prompts begin with."""
    first, last = min(prompts), max(prompts)  # the others, in their order, have these tokens too
    differ = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return next(differ, min(len(first), len(last)))


def shared_tokens(prompts: Sequence[list[int]]) -> int:
    """Number of first tokens to compute once for a batch: 0 if that saves less than it costs. Each prompt keeps one
    token of its own."""
    shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
    return shared if shared * (len(prompts) - 1) >= STEP else 0


def by_family(
    prompts: list[list[int]], limits: list[int], plan: Callable[[list[int]], list[list[int]]]
) -> list[list[int]]:
    """Batch the prompts (by position) so that a batch has no others than those of one family, if that is worth it.

    `plan` makes batches of the positions that it is given. A family is worth batches of its own where it saves more
    tokens than another batch costs: a forward pass for each token of the longest answer.
    """
    alone: list[int] = []
    families: list[list[int]] = []
    for family in _families(prompts):
        members = [prompts[place] for place in family]
        steps = 1 + max(limits[place] for place in family)
        if common_prefix(members) * (len(family) - 1) > STEP * steps:
            families.append(family)
        else:
            alone += family
    return [batch for places in (sorted(alone), *families) if places for batch in plan(places)]


def _families(prompts: list[list[int]]) -> list[list[int]]:
    """Positions of prompts, sorted, in runs in which each shares at least half of its tokens with the one before."""
    runs: list[list[int]] = []
    before: list[int] = []
    for place in sorted(range(len(prompts)), key=lambda place: (prompts[place], place)):
        prompt = prompts[place]
        if runs and 2 * common_prefix([before, prompt]) >= max(len(before), len(prompt)):
            runs[-1].append(place)
        else:
            runs.append([place])
        before = prompt
    return runs
