"""The auxiliary loss that balances the load of a mixture's experts (Fedus et al. 2021, arXiv 2101.03961, eq. 4-6)."""

import sys
from typing import Any

from torch import Tensor

from sciriff.config import TrainConfig
from sciriff.models.parts import experts_of_a_token
from sciriff.run.user_error import UserError


def check(language_model: Any, train: TrainConfig) -> None:
    """UserError if `train.router_aux_loss` is above 0 and transformers has no such loss for this family."""
    if train.router_aux_loss and (_function(language_model) is None or not _experts(language_model)):
        family = type(language_model).__name__
        problem = f"train.router_aux_loss={train.router_aux_loss}, and {family} has no router with an auxiliary loss"
        raise UserError(f"{problem} in transformers; leave it at 0")


def describe(language_model: Any, train: TrainConfig) -> str | None:
    """Return a line for the log if a mixture of experts is trained without it, with the coefficient of its config."""
    own = getattr(language_model.config.get_text_config(), "router_aux_loss_coef", None)
    if train.router_aux_loss or train.method != "full" or own is None or not _experts(language_model):
        return None
    return (
        "train.router_aux_loss=0: the load of the experts is not balanced by a loss of its own "
        f"(the coefficient in the model's config is {own})"
    )


def gradient_only(language_model: Any, router_logits: tuple[Tensor, ...], weight: float) -> Tensor:
    """Return a scalar of value 0 with the gradient of `weight` times the auxiliary loss of these logits.

    `router_logits` has a tensor (tokens, experts) for each layer with experts. The summed loss of a micro-batch takes
    the coefficient times its target tokens as weight. Divided by those of the step, the auxiliary losses of the
    micro-batches are averaged by target tokens, and with a single micro-batch the gradient is that of transformers.
    """
    function, experts = _function(language_model), _experts(language_model)
    assert function is not None and experts is not None, "`check` refuses them"
    loss: Tensor = function(router_logits, *experts)
    return weight * (loss - loss.detach())


def _function(language_model: Any) -> Any:
    """Return the family's function in transformers: (router logits, experts, experts per token) -> loss."""
    return getattr(sys.modules[type(language_model).__module__], "load_balancing_loss_func", None)


def _experts(language_model: Any) -> tuple[int, int] | None:
    """Return the number of experts and how many each token takes; None if there are none."""
    return experts_of_a_token(language_model.config.get_text_config())
