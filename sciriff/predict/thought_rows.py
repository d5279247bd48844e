"""Thoughts of the model that answers: how they are marked, and each kept in its row apart from the answer."""

from collections.abc import Iterable
from typing import Any

from sciriff.config import Config
from sciriff.data.general_rows import GeneralAnswer
from sciriff.data.records import Prediction
from sciriff.models.answer_parts import AnswerParts
from sciriff.models.thoughts import Thoughts, refuse_budget, thoughts_of
from sciriff.predict.paid_answers import PaidAnswer
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT
from sciriff.run.messages import show


def find_thoughts(config: Config, tokenizer: Any) -> Thoughts | None:
    """How the answering model marks its thoughts, which is printed; None if its whole output is the answer, as it is
    under eval.parity=reference. UserError for a budget that nothing would be measured against."""
    model, budget = config.answering_model, config.thinking_tokens
    if model.api is not None or config.eval.parity == "reference":
        return None
    thoughts = thoughts_of(model, tokenizer, served=config.engine.asks)
    if thoughts is not None:
        show(thoughts.line() + (f", within {budget} tokens" if budget else ""))
    elif not config.engine.asks:
        refuse_budget(model, budget)
    return thoughts


def split_paid(answer: PaidAnswer, thoughts: Thoughts | None, tokenizer: Any) -> AnswerParts:
    """Split the answer of a server, which may have told the thought apart; tokens that it does not tell are counted
    here if the tokenizer is the model's own."""
    text, ended, thought, tokens = answer.text, answer.finish_reason, answer.thought, answer.thought_tokens
    # some servers do not say why an answer ended
    cut = ended == "length" or (ended is None and answer.limit is not None and answer.output_tokens >= answer.limit)
    answered = bool(text.strip()) or ended is not None or (thought is None and not tokens)
    if thoughts is not None and thought is None and not tokens:
        thought, text, answered = thoughts.split_text(text, "length" if cut else ended)
    if not answered:
        ended = UNFINISHED_THOUGHT if cut else NO_CONTENT
    if tokens is None and thought is not None and thoughts is not None:
        whole = thought.encode("utf-8", "replace").decode()  # half characters have no tokens
        counted = len(tokenizer(whole, add_special_tokens=False, verbose=False)["input_ids"])
        tokens = min(counted, answer.output_tokens)
    return AnswerParts(text, ended, thought, tokens)


def same_under(
    limit: int, thinking: int, finish_reason: str | None, output_tokens: int, thought_tokens: int | None
) -> bool:
    """Whether an output would be the same with an answer of at most `limit` tokens and a thought of at most `thinking`,
    with 0 both together: what was cut holds only for the limit that cut it, what the model ended wherever it fits."""
    if finish_reason == UNFINISHED_THOUGHT:
        return output_tokens == (thinking or limit)
    thought = thought_tokens or 0
    used = output_tokens - thought if thinking else output_tokens
    fits = used == limit if finish_reason == "length" else used <= limit
    return fits and (not thinking or thought <= thinking)


def endings(rows: Iterable[Prediction | GeneralAnswer]) -> str:
    """Count answers cut at their limit, and thoughts, if there are any: `2 of them cut off at their limit`."""
    rows = list(rows)
    cut = sum(row.finish_reason == "length" for row in rows)
    unfinished = sum(row.finish_reason == UNFINISHED_THOUGHT for row in rows)
    tokens = [row.thought_tokens for row in rows if row.thought_tokens is not None and row.thought != ""]
    text = f"{cut} of them cut off at their limit"
    if tokens:
        text += f", {len(tokens)} with a thought of {sum(tokens) / len(tokens):,.0f} tokens on average"
    return text + (f", {unfinished} without an answer, for their thought did not end" if unfinished else "")
