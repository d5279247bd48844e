"""Left-padded batches of prompts as the inputs of a model; what all of them begin with may be computed once."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from sciriff.models.engines.families import shared_tokens
from sciriff.models.parts import values_of_layers
from sciriff.run.user_error import UserError

CACHES = ("cache", "past_key_values", "cache_params")
"""Names that transformers has given to what was computed before, the newest first. A family knows one of them, and may
pass over another without a word."""


@dataclass
class Inputs:
    """Inputs of one forward pass; `mask` is that of the cached tokens too."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache_name: str
    cache: Any = None

    def arguments(self) -> dict[str, Any]:
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": self.positions,
            self.cache_name: self.cache,
            "use_cache": True,
        }

    def go_on_from(self, output: Any) -> None:
        """Take the cache of a forward pass. UserError if the model made none, since its answers would be wrong."""
        self.cache = getattr(output, self.cache_name, None)
        if self.cache is None:
            raise UserError("this family keeps nothing of what it has computed for the next token: choose engine=vllm")


def padded(model: Any, prompts: list[list[int]], last_only: dict[str, int], share: bool = False) -> Inputs:
    """Inputs for all prompts of a batch. With `share` a long common beginning is computed here, once for all of them;
    `last_only` are the model's arguments for the logits of the last position alone."""
    device = next(model.parameters()).device
    shared = shared_tokens(prompts) if share and _attends_to_all(model) else 0
    cache = None
    if shared:
        one = padded(model, [prompts[0][:shared]], last_only)
        one.go_on_from(model(**one.arguments(), **last_only))
        cache = one.cache
        if all(type(layer) is DynamicLayer for layer in cache.layers):
            cache.batch_repeat_interleave(len(prompts))
        else:  # a state that has taken in the tokens in turn, say, would take in the padding
            shared, cache = 0, None
    longest = max(map(len, prompts))
    # Padding is never attended to, so any token will do. It stands between what is shared and the rest.
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt[shared:] for prompt in prompts], device=device)
    own = [[0] * (longest - len(prompt)) + [1] * (len(prompt) - shared) for prompt in prompts]
    mask = torch.tensor([[1] * shared + row for row in own], device=device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, shared:]
    return Inputs(ids, mask, positions, _cache_name(model), cache)


def _cache_name(model: Any) -> str:
    """The one of CACHES that the model's forward pass takes; a pass that takes anything hands it on as it is."""
    known = inspect.signature(model.forward).parameters
    return next((name for name in CACHES if name in known), "past_key_values")


def _attends_to_all(model: Any) -> bool:
    """Whether no layer has a window: padding would take up room in it."""
    config = model.config.get_text_config()
    return not any(any(values_of_layers(config, name)) for name in ("sliding_window", "attention_chunk_size"))
