"""Refuse a budget for thoughts that nothing marks, and a mix whose answers the evaluation would take for thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciriff.config import ChatSettings, Config
from sciriff.data.mix_card import MixCard
from sciriff.models.thoughts import refuse_budget, thoughts_of
from sciriff.models.tokenizer_template import THINKING, template_of
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def check_budget(config: Config, tokenizer: Any) -> None:
    """UserError for eval.thinking_tokens where this tokenizer, which the trained model keeps, has no known mark: before
    the training, not after it."""
    asked = "predict" in config.active_stages and not config.engine.asks and config.eval.model is None
    unknown = asked and config.thinking_tokens and config.model.thinking is None
    if unknown and thoughts_of(config.model, tokenizer) is None:
        refuse_budget(config.model, config.thinking_tokens)


def check_prompts(card: MixCard, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings) -> None:
    """UserError if most rows answer without a thought and every prompt of the evaluation begins one: all that the model
    has learnt to answer would count as a thought that never ends. Whoever asks for thoughts by name has decided."""
    silent = card.get("empty_thought")
    if silent is None or 2 * silent["rows"] <= card["rows"] or settings.arguments.get(THINKING) is True:
        return
    template = template_of(tokenizer, settings)
    if template.opens_thought:
        off = (
            f"give ++model.chat_arguments.{THINKING}=false"
            if THINKING in template.variables
            else "take another model.chat"
        )
        raise UserError(
            f"model.chat=tokenizer: {silent['rows']:,} of {card['rows']:,} rows, such as {silent['first'][0]}, have no "
            "thought, and the tokenizer's chat template begins one in every prompt, so that answers of the trained "
            f"model would count as thoughts without an end; {off}, or train on rows with thoughts"
        )
