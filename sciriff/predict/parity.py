"""The original code's prompts, traps included, for `eval.parity=reference`, so that numbers stand beside its own.

It generated through lm-eval 0.4 from texts, not token ids: without the BOS that training had, Tulu's role tag without
its newline, the last tokens of a prompt that is too long, one worked example before each evidence_inference instance,
and a stop string.
"""

import random
from dataclasses import replace
from typing import Any

from sciriff.data.records import Instance
from sciriff.models.chat_markup import jinja_template
from sciriff.predict.prompts import SERVERS, Prompt, fit, plain_ids
from sciriff.run.user_error import UserError

ONE_SHOT_TASK = "evidence_inference"
SHOT_SEED = 1234
"""lm-eval's own for drawing examples."""
BEFORE_ANSWER = "\n"
AFTER_EXAMPLE = "\n\n\n"
STOP = "\n\n" + "-" * 20 + "\n\n"


def make_prompts(
    instances: list[Instance], pool: list[Instance], chat: str, tokenizer: Any, room: int, truncation: str
) -> list[Prompt]:
    """The prompts of one task's instances. `pool` is all of them, from which examples are drawn.

    `truncation` is the reference's `left` where it is the default (middle_of_document); skip and error stay themselves.
    """
    truncation = "left" if truncation == "middle_of_document" else truncation
    shots = draw_shots(pool) if instances[0].task == ONE_SHOT_TASK else {}
    prompts = []
    for instance in instances:
        shot = shots.get(instance.instance_id)
        example = (
            ""
            if shot is None
            else markup(shot.prompt, chat, tokenizer) + BEFORE_ANSWER + shot.reference + AFTER_EXAMPLE
        )

        if chat == SERVERS:  # all of it is what the user says
            instance, example = replace(instance, prompt=example + instance.prompt), ""

        def render(text: str, example: str = example) -> list[int]:
            return plain_ids(example + markup(text, chat, tokenizer), tokenizer)

        prompts.append(fit(instance, render, tokenizer, room, truncation))
    return prompts


def markup(text: str, chat: str, tokenizer: Any) -> str:
    """The prompt as the reference writes it. Llama-2's and Llama-3's BOS is part of its text, that of the others is not
    there at all."""
    if chat == SERVERS:
        return text
    messages = [{"role": "user", "content": text}]
    rendered: str = tokenizer.apply_chat_template(
        messages, chat_template=jinja_template(chat), tokenize=False, add_generation_prompt=True
    )
    if chat in ("tulu", "general") and tokenizer.bos_token:
        rendered = rendered.removeprefix(tokenizer.bos_token)
    return rendered.removesuffix("\n") if chat == "tulu" else rendered


def draw_shots(pool: list[Instance]) -> dict[str, Instance]:
    """Instance id -> the worked example before it: another instance, drawn as lm-eval draws, one after the other."""
    if len(pool) < 2:
        raise UserError(
            f"eval.parity=reference shows {ONE_SHOT_TASK} another instance as an example, and there is only {len(pool)}"
        )
    draw = random.Random(SHOT_SEED)
    return {instance.instance_id: next(shot for shot in draw.sample(pool, 2) if shot != instance) for instance in pool}


def before_stop(text: str) -> str:
    """An answer up to the reference's stop string."""
    return text.partition(STOP)[0]
