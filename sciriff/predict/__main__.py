"""Answer the held-out tasks with the run's model and write predictions/<task>.jsonl. Goes on where it was killed."""

import time
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from sciriff import chat
from sciriff.config import Config
from sciriff.digest import value_digest
from sciriff.instances import choose, read_instances
from sciriff.predict import over_api, parity, saved_rows
from sciriff.predict.engines import Answer, Request
from sciriff.predict.model_facts import context_of, model_identity
from sciriff.predict.prompts import SERVERS, Prompt, make_prompt, room_for_prompt
from sciriff.pretrained import load_config, load_tokenizer
from sciriff.progress import Progress
from sciriff.records import Prediction
from sciriff.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """The stage: what is asked, what of it is answered already, and the rest through the engine."""
    if config.engine.asks:
        over_api.answer(config, run, make_prompts(config, *over_api.tokenizer_and_room(config)))
        return
    engine = load_engine(config.engine.name)
    model = config.answering_model
    tokenizer = load_tokenizer(model)
    own_config = load_config(model) if model.path is not None else None
    context = context_of(model, own_config)
    prompts = make_prompts(config, tokenizer, room_for_prompt(context, config.eval.max_new_tokens))
    asked = [prompt for prompt in prompts if not prompt.skipped]
    # Batches depend on all prompts and not on what is left of them: the last digits of a sum, and so now and then a
    # token, depend on what else is in the batch, and a resumed run must end in the same bytes as an undisturbed one.
    batches = engine.plan_batches([len(prompt.ids) for prompt in asked], config.eval.max_new_tokens, config.engine)
    request = Request(
        model=model,
        engine=config.engine,
        prompts=[prompt.ids for prompt in asked],
        batches=batches,
        max_new_tokens=config.eval.max_new_tokens,
        context=context,
        end_ids=chat.end_ids(model.chat, tokenizer),
        seed=config.seed,
    )
    expected: dict[str, list[str]] = {}
    for prompt in prompts:
        expected.setdefault(prompt.instance.task, []).append(prompt.instance.instance_id)
    settings = {
        "model": model_identity(model, own_config, config.seed),
        "dtype": model.dtype,
        "engine": [config.engine.name, *engine.settings(config.engine)],
        "max_new_tokens": request.max_new_tokens,
        "end tokens": request.end_ids,
        "parity": config.eval.parity,
        "prompts": value_digest([[p.instance.instance_id, p.instance.reference, p.text, p.ids] for p in prompts]),
    }

    rows = saved_rows.begin(run, expected, settings)
    ids = [prompt.instance.instance_id for prompt in asked]
    finished = [place for batch in batches if all(ids[place] in rows for place in batch) for place in batch]
    rows = {ids[place]: rows[ids[place]] for place in finished}
    saved_rows.keep_only(run, expected, rows)
    if rows:
        print(f"{len(rows)} answers are here already", flush=True)
    left = [batch for batch in batches if ids[batch[0]] not in rows]
    if left:
        started = time.monotonic()
        progress = Progress(len(asked))
        tokens = 0
        for answers in engine.generate(replace(request, batches=left)):
            new = [to_row(asked[answer.place], answer, tokenizer, config.eval.parity) for answer in answers]
            saved_rows.append(run, new)
            rows.update((row.instance_id, row) for row in new)
            tokens += sum(len(answer.token_ids) for answer in answers)
            progress(len(rows), f"answers, {tokens / (time.monotonic() - started):,.0f} tokens a second")
    rows.update((prompt.instance.instance_id, skipped_row(prompt)) for prompt in prompts if prompt.skipped)
    saved_rows.keep_only(run, expected, rows)
    endless = sum(row.finish_reason == "length" for row in rows.values())
    print(f"{len(rows)} answers, {endless} of them cut off at {request.max_new_tokens} tokens", flush=True)


def load_engine(name: str) -> ModuleType:
    """The module of an engine: `settings`, `plan_batches` and `generate`. ValueError where it is not installed."""
    if name == "transformers":
        from sciriff.predict.engines import transformers

        return transformers
    if find_spec("vllm") is None:
        raise ValueError(
            "engine=vllm is not installed here: pip install 'sciriff[vllm]', or name an interpreter that has it with "
            "engine.python=PATH, or choose engine=transformers"
        )
    from sciriff.predict.engines import vllm

    return vllm


def make_prompts(config: Config, tokenizer: Any, room: int) -> list[Prompt]:
    """The prompts of all chosen instances, task after task, in at most `room` tokens each; says what was cut."""
    pool = read_instances(config.eval)
    instances = {task: choose(rows, config.eval.limit, config.seed) for task, rows in pool.items()}
    total = sum(len(rows) for rows in instances.values())
    print(f"{total} instances of {len(instances)} tasks, prompts of at most {room} tokens", flush=True)
    markup = SERVERS if config.engine.asks else config.answering_model.chat
    truncation = config.eval.truncation
    prompts = []
    for task, rows in instances.items():
        if config.eval.parity == "reference":
            made = parity.make_prompts(rows, pool[task], markup, tokenizer, room, truncation)
        else:
            made = [make_prompt(row, markup, tokenizer, room, truncation) for row in rows]
        cut, skipped = sum(p.truncated_tokens > 0 for p in made), sum(p.skipped for p in made)
        if cut:
            tokens = sum(p.truncated_tokens for p in made)
            print(f"{task}: {cut} of {len(made)} prompts were too long and lost {tokens} tokens in all", flush=True)
        if skipped:
            print(f"{task}: {skipped} of {len(made)} prompts were too long and are not answered", flush=True)
        prompts += made
    return prompts


def to_row(prompt: Prompt, answer: Answer, tokenizer: Any, parity_switch: str) -> Prediction:
    """The row of an answer. Its text is everything up to the token that ended it, other special tokens included."""
    ids = answer.token_ids[:-1] if answer.finish_reason == "stop" else answer.token_ids
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Prediction(
        task=prompt.instance.task,
        instance_id=prompt.instance.instance_id,
        prompt=prompt.text,
        prediction=parity.before_stop(text) if parity_switch == "reference" else text,
        reference=prompt.instance.reference,
        finish_reason=answer.finish_reason,
        prompt_tokens=len(prompt.ids),
        output_tokens=len(answer.token_ids),
        truncated_tokens=prompt.truncated_tokens,
    )


def skipped_row(prompt: Prompt) -> Prediction:
    """The empty row of a prompt that was too long under eval.truncation=skip."""
    instance = prompt.instance
    return Prediction(
        instance.task, instance.instance_id, prompt.text, "", instance.reference, "skipped", len(prompt.ids), 0
    )


if __name__ == "__main__":
    run_stage(main)
