"""`python -m sciriff.predict.selection_prompts RUN_DIR`: the prompts by whose scores a training chooses its best model
(train.best_by=task_mean), in RUN/selection/prompts.jsonl.

Made once, before the training starts, and kept: what is reported may change later, what has chosen a model may not. No
prompt is one that the model is trained on, nor, but for train.best_from=reported, one that the run reports.
"""

from collections.abc import Iterator
from dataclasses import replace

from sciriff.config import BEST_ROWS, REPORTED, TRAIN_SPLIT, VALIDATION_ROWS, Config
from sciriff.data.hub_rows import MissingSplit
from sciriff.data.instances import choose, read_instances, wanted_tasks
from sciriff.data.records import Conversation, Instance
from sciriff.data.selection import SelectionPrompt, origin_of_prompts, prompts_of, train_split
from sciriff.models.identity import context_of
from sciriff.models.loading import load_config, load_tokenizer
from sciriff.predict.prompts import make_prompt
from sciriff.predict.room import room_for_prompt
from sciriff.run.json_lines import read_jsonl, write_jsonl
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.stage import run_stage
from sciriff.tasks.by_form import metric_of
from sciriff.tasks.own import METRICS, NAMES, names_of, own_task
from sciriff.tasks.task import Task

SCIENCE = "science."
"""What the datasets of a mix's science rows begin with."""

LONGEST = 120
"""Characters of what a message shows of a prompt's row."""

Found = list[tuple[Task, str | None, list[Instance]]]
"""Tasks with the metric of those that are not held out, and their instances."""


def main(config: Config, run: RunDir) -> None:
    """Write the prompts, unless they are there already. UserError if there are none to choose by."""
    if run.selection_prompts.is_file():
        _refuse_damaged(config, run)
        show(f"{run.selection_prompts} is kept as it was made")
        return
    origin = origin_of_prompts(config)
    found = _of_validation_rows(run) if origin == VALIDATION_ROWS else _of_held_out(config, origin)
    without = _trained_on(run, found)
    if origin != REPORTED:
        without |= _reported(config)
    kept = [
        (task, metric, choose(left, config.train.best_rows or BEST_ROWS, config.seed))
        for task, metric, rows in found
        if (left := [row for row in rows if row.prompt not in without])
    ]
    left_out = sum(row.prompt in without for _, _, rows in found for row in rows)
    if left_out:
        show(f"{left_out} prompts left out, since the model is trained on them or the run reports them")
    rows = list(_prompts(config, kept))
    if not rows:
        raise UserError(
            f"train.best_from={origin}: none of {sum(len(rows) for _, _, rows in found)} instances is left to choose "
            "by; take another train.best_from, or another train.best_by"
        )
    run.selection.mkdir(exist_ok=True)
    write_jsonl(run.selection_prompts, [dict(row) for row in rows])
    tokens = max(len(row["ids"]) for row in rows)
    show(f"{len(rows)} prompts of {len(kept)} tasks choose the best model ({origin}), each of {tokens} tokens at most")


def _refuse_damaged(config: Config, run: RunDir) -> None:
    """UserError for a file without prompts, or with one that was never made for this model."""
    model, path = config.model, run.selection_prompts
    fix = "remove the file, and it is made again"
    tokens = len(load_tokenizer(model))
    context = context_of(model, load_config(model) if model.path is not None else None)
    rows = prompts_of(run)
    if not rows:
        raise UserError(f"{path} is empty; {fix}")
    for number, row in enumerate(rows, 1):
        metric, name = row["metric"], row["_instance_id"].partition(":")[0]
        if not row["ids"] or not all(0 <= token < tokens for token in row["ids"]):
            raise UserError(f"{path}:{number}: ids are not the tokens of a prompt for this model; {fix}")
        if min(row["limit"] - 1, row["thinking"], context - len(row["ids"]) - row["limit"] - row["thinking"]) < 0:
            lengths = f"limit={row['limit']} and thinking={row['thinking']}"
            raise UserError(f"{path}:{number}: {lengths}: the model takes {context} tokens in all; {fix}")
        if metric not in METRICS if metric is not None else name not in NAMES:
            wrong = shortened(visible_line(f"metric={metric} of the task {name}"), LONGEST)
            raise UserError(f"{path}:{number}: {wrong} is not known; {fix}")


def _of_held_out(config: Config, origin: str) -> Found:
    """The held-out tasks that are scored without a judge, from their train split or from what is reported."""
    evaluation = config.eval
    if origin == TRAIN_SPLIT:
        split = train_split(evaluation)
        assert split is not None, "origin_of_prompts has looked for one"
        evaluation = replace(evaluation, split=split.split, path=split.path)
    tasks = {task.name: task for task in evaluation.held_out}
    wanted = wanted_tasks(evaluation.tasks, names_of(evaluation.held_out))
    scored = [name for name in wanted if set(tasks[name].columns) - set(tasks[name].judged_columns)]
    if not scored:
        raise UserError(f"train.best_by=task_mean: {', '.join(wanted)} cannot be scored without a judge")
    try:
        instances = read_instances(replace(evaluation, tasks=scored if evaluation.tasks is not None else None))
    except MissingSplit as error:
        raise UserError(
            f"train.best_from={TRAIN_SPLIT}: {error}; choose by the mix's validation rows with "
            f"train.best_from={VALIDATION_ROWS}"
        ) from None
    if origin == REPORTED:
        instances = {name: choose(rows, evaluation.limit, config.seed) for name, rows in instances.items()}
    own = config.eval.own_tasks
    return [
        (tasks[name], own.get(name), [row for row in rows if _is_scored(tasks[name], row)])
        for name, rows in instances.items()
        if name in scored
    ]


def _is_scored(task: Task, row: Instance) -> bool:
    """Whether the reference can be used: a split to train on may have some that cannot."""
    try:
        task.score("", row.reference)
    except ValueError:
        return False
    return True


def _of_validation_rows(run: RunDir) -> Found:
    """The science tasks of the mix's validation rows, each with the metric that its references show."""
    if not run.validation.is_file():
        raise UserError(f"train.best_from={VALIDATION_ROWS}: the mix has no validation rows; {run.mix_card} says why")
    instances: dict[str, list[Instance]] = {}
    for row in read_jsonl(run.validation, Conversation):
        roles = tuple(message.role for message in row.messages)
        if row.dataset.startswith(SCIENCE) and roles == ("user", "assistant"):
            name = row.dataset.removeprefix(SCIENCE)
            instance_id = row.id if row.id.startswith(f"{name}:") else f"{name}:{row.id}"
            question, answer = row.messages
            instances.setdefault(name, []).append(Instance(name, instance_id, question.content, answer.content))
    found: Found = []
    for name, rows in sorted(instances.items()):
        metric = metric_of([row.reference for row in rows])
        found.append((own_task(name, metric), metric, rows))
    return found


def _trained_on(run: RunDir, found: Found) -> set[str]:
    """The prompts among these that are questions of the mix."""
    prompts = {row.prompt for _, _, rows in found for row in rows}
    rows = read_jsonl(run.mix, Conversation)
    return {message.content for row in rows for message in row.messages if message.content in prompts}


def _reported(config: Config) -> set[str]:
    """All prompts that the run may report, whatever eval.limit and eval.tasks take of them now; none where they cannot
    be read and this run does not answer them."""
    everything = replace(config.eval, tasks=None)
    try:
        return {row.prompt for rows in read_instances(everything).values() for row in rows}
    except UserError:
        if "predict" in config.active_stages:
            raise
        return set()


def _prompts(config: Config, found: Found) -> Iterator[SelectionPrompt]:
    """Tokenise the prompts as those of the evaluation are; eval.truncation=skip leaves out those that are too long."""
    model, wanted = config.model, config.eval
    tokenizer = load_tokenizer(model)
    context = context_of(model, load_config(model) if model.path is not None else None)
    for task, metric, instances in found:
        limit, thinking = wanted.longest_answer(task.name), config.thinking_tokens
        room = room_for_prompt(context, limit, thinking)
        for row in instances:
            prompt = make_prompt(row, model.chat, tokenizer, room, wanted.truncation, model.chat_settings)
            if not prompt.skipped:
                yield SelectionPrompt(
                    _instance_id=row.instance_id,
                    input=row.prompt,
                    output=row.reference,
                    metric=metric,
                    ids=prompt.ids,
                    limit=limit,
                    thinking=thinking,
                )


if __name__ == "__main__":
    run_stage(main)
