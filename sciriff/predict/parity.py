"""Prompts of the reference code, errors included, for `eval.parity=reference` and numbers comparable with its own.

It generated through lm-eval 0.4 from text, not token ids: without the BOS of training, with Tulu's role tag but not its
newline, keeping the last tokens of a long prompt, with one solved example before each evidence_inference instance, and
with a stop string.
"""

import random
from dataclasses import replace
from typing import Any

from sciriff.config import ChatSettings
from sciriff.data.records import Instance
from sciriff.models.chat_markup import PLAIN, jinja_template
from sciriff.models.tokenizer_template import template_of
from sciriff.predict.prompts import SERVERS, Prompt, fit, plain_ids
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

ONE_SHOT_TASK = "evidence_inference"
SHOT_SEED = 1234
"""lm-eval's seed for drawing examples."""
BEFORE_ANSWER = "\n"
AFTER_EXAMPLE = "\n\n\n"
STOP = "\n\n" + "-" * 20 + "\n\n"


def make_prompts(
    instances: list[Instance],
    pool: list[Instance],
    chat: str,
    tokenizer: Any,
    room: int,
    truncation: str,
    settings: ChatSettings = PLAIN,
) -> list[Prompt]:
    """Make the prompts of one task's instances. `pool` has all instances of the task, from which examples are drawn.

    The default `truncation` (middle_of_document) becomes the reference code's `left`.
    """
    truncation = "left" if truncation == "middle_of_document" else truncation
    shots = draw_shots(pool) if instances[0].task == ONE_SHOT_TASK else {}
    prompts = []
    for instance in instances:
        example = ""
        if shot := shots.get(instance.instance_id):
            example = markup(shot.prompt, chat, tokenizer, settings) + BEFORE_ANSWER + shot.reference + AFTER_EXAMPLE
        if chat == SERVERS:  # the example is part of the user's message
            instance, example = replace(instance, prompt=example + instance.prompt), ""

        def render(text: str, example: str = example) -> list[int]:
            return plain_ids(example + markup(text, chat, tokenizer, settings), tokenizer)

        prompts.append(fit(instance, render, tokenizer, room, truncation))
    return prompts


def markup(text: str, chat: str, tokenizer: Any, settings: ChatSettings = PLAIN) -> str:
    """The reference code's prompt text. It has the BOS of Llama-2 and Llama-3, and none in the other formats."""
    if chat == SERVERS:
        return text
    if chat == "tokenizer":
        return "".join(template_of(tokenizer, settings).prompt([Message("user", text)])[0])
    messages = [{"role": "user", "content": text}]
    rendered: str = tokenizer.apply_chat_template(
        messages, chat_template=jinja_template(chat), tokenize=False, add_generation_prompt=True
    )
    if chat in ("tulu", "general") and tokenizer.bos_token:
        rendered = rendered.removeprefix(tokenizer.bos_token)
    return rendered.removesuffix("\n") if chat == "tulu" else rendered


def draw_shots(pool: list[Instance]) -> dict[str, Instance]:
    """Draw lm-eval's examples: instance id -> another, shown before it with its answer. UserError for fewer than 2."""
    if len(pool) < 2:
        raise UserError(
            f"eval.parity=reference shows {ONE_SHOT_TASK} another instance as an example, and there is only {len(pool)}"
        )
    draw = random.Random(SHOT_SEED)
    return {instance.instance_id: next(shot for shot in draw.sample(pool, 2) if shot != instance) for instance in pool}


def before_stop(text: str) -> str:
    """Cut an answer at the reference code's stop string."""
    return text.partition(STOP)[0]
