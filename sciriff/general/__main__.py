"""Score saved answers to the general tasks by lm-eval's metrics: `python -m sciriff.general RUN`. Needs no engine."""

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from sciriff.config import Config
from sciriff.data.general_rows import (
    Finish,
    GeneralAnswer,
    GeneralItem,
    GeneralLeaf,
    GeneralSettings,
    GeneralTaskSettings,
    read_answers,
)
from sciriff.general.loaded_tasks import LoadedTask, chosen_documents
from sciriff.general.requests import asking
from sciriff.general.task_index import FILE_NAME
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT
from sciriff.run.json_lines import dumps, write_jsonl
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole
from sciriff.stage import run_stage

LONGEST_TEXT = 20_000
"""Characters of a question, target or answer in a row; all of an answer is in answers.jsonl."""
SHOWN = 3
"""Documents that a message names; the rest are counted."""
FINISHES: dict[str, Finish] = {
    "stop": "stop",
    NO_CONTENT: "stop",
    "length": "length",
    UNFINISHED_THOUGHT: "unfinished_thought",
    "scored": "scored",
}
"""How an answer ended, by the words of our engines; servers have others."""


def main(config: Config, run: RunDir) -> None:
    """Write what each document scored, and how it was asked and scored."""
    answers = saved_answers(config, run)
    general = config.general
    with asking(config) as (builder, tasks):
        from sciriff.general.saved_answers import SavedAnswers

        model = SavedAnswers(builder, answers)
        items: dict[str, list[GeneralItem]] = {}
        settings: dict[str, GeneralTaskSettings] = {}
        for loaded in tasks:
            documents = chosen_documents(general, loaded)
            found = scored(loaded, documents, model, builder.how())
            refuse_missing(config, model, documents)
            leaves = {leaf: rows for leaf, rows in found.items() if rows}
            items |= leaves
            if leaves:
                about = {leaf: about_leaf(loaded, leaf, leaves[leaf]) for leaf in leaves}
                settings[loaded.name] = GeneralTaskSettings(loaded.metric_key, about)
    write(
        run,
        items,
        GeneralSettings(general.name, version("lm_eval"), builder.prompter.chat, general.turns, general.seed, settings),
    )
    for name, task in settings.items():
        rows = [row for leaf in task.leaves for row in items[leaf]]
        show(f"{name}: {len(rows)} documents, {task.metric}")


def saved_answers(config: Config, run: RunDir) -> dict[str, GeneralAnswer]:
    """Digest of the prompt -> answer. UserError where the stage that answers has not finished."""
    again = "run the predict stage first: stages=[predict,general,score,report]"
    if not run.general_answers.is_file():
        raise UserError(f"{run.general_answers}: the general tasks have no answers yet; {again}")
    rows = list(read_answers(run.general_answers))
    if len({row.made_with for row in rows}) > 1:
        raise UserError(f"{run.general_answers}: these are answers of several models; {again}")
    return {row.request: row for row in rows}


def refuse_missing(config: Config, model: Any, documents: dict[str, list[int]]) -> None:
    """UserError for prompts without an answer, unless allow_missing leaves their `documents` out."""
    if model.without and not config.allow_missing:
        names = [f"{task}:{documents[task][place]}" for task, place in list(model.without.values())[:SHOWN]]
        more = f" and {len(model.without) - SHOWN} more" if len(model.without) > SHOWN else ""
        raise UserError(
            f"general tasks: {', '.join(names)}{more} have no answer; run the predict stage again "
            "(stages=[predict,general,score,report]), or score what is there with allow_missing=true"
        )


def scored(
    loaded: LoadedTask, documents: dict[str, list[int]], model: Any, how: dict[str, Any]
) -> dict[str, list[GeneralItem]]:
    """Leaf -> what its documents scored, by lm-eval's own evaluation of the saved answers."""
    from lm_eval.evaluator import evaluate

    results = evaluate(
        lm=model,
        task_dict={"tasks": loaded.leaves},
        samples=documents,
        bootstrap_iters=0,
        confirm_run_unsafe_code=True,  # load_tasks has asked general.run_code
        **how,
    )
    assert results is not None
    found = {}
    for leaf, task in loaded.leaves.items():
        rows = [row for row in results["samples"][leaf] if row["filter"] == loaded.filter]
        found[leaf] = [
            item
            for place, row in enumerate(rows)
            if (item := item_of(leaf, place, row, task, loaded, model)) is not None
        ]
    return found


def item_of(
    leaf: str, place: int, row: dict[str, Any], task: Any, loaded: LoadedTask, model: Any
) -> GeneralItem | None:
    """What a document scored; None for one without an answer."""
    key = leaf, place
    asked, answer = model.asked[key], model.given.get(key)
    if key in model.incomplete:
        return None
    value = float(row[loaded.metric])
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UserError(
            f"general.metrics: {loaded.metric} of {leaf} is {value:g} for document {row['doc_id']}, and values of "
            "single documents must lie between 0 and 1; choose another metric"
        )
    if answer is None or key in model.unreadable:
        value = 0.0
    question = task.doc_to_text(row["doc"])
    return GeneralItem(
        doc_id=row["doc_id"],
        doc_hash=row["doc_hash"],
        target_hash=row["target_hash"],
        value=value,
        finish=FINISHES.get(answer.finish_reason, "other") if answer else "skipped",
        truncated=asked.left_out,
        question=_text(question if isinstance(question, str) else asked.choices),
        target=_text(target_of(task, row)),
        answer=_text(model.most_likely.get(key) or (answer.text if answer else "")),
        thought_tokens=answer.thought_tokens if answer and answer.thought != "" else None,
    )


def target_of(task: Any, row: dict[str, Any]) -> Any:
    """The expected answer: of multiple choice its text."""
    target = row["target"]
    if not isinstance(target, int):
        return target
    choices = task.doc_to_choice(row["doc"]) if task.config.doc_to_choice is not None else []
    return choices[target] if 0 <= target < len(choices) else ""


def about_leaf(loaded: LoadedTask, leaf: str, rows: Sequence[GeneralItem]) -> GeneralLeaf:
    """How a leaf task was asked and scored."""
    task = loaded.leaves[leaf]
    chance = None
    if task.OUTPUT_TYPE == "multiple_choice" and loaded.metric in ("acc", "acc_norm") and not task.multiple_input:
        choices = [len(task.doc_to_choice(doc)) for doc in task.eval_docs] if not task.config.process_results else []
        chance = sum(1 / count for count in choices) / len(choices) if choices else None
    return GeneralLeaf(
        documents=len(task.eval_docs),
        items=len(rows),
        weight=loaded.weights[leaf],
        version=str(task.VERSION),
        shots=task.config.num_fewshot,
        chance=chance,
    )


def write(run: RunDir, items: dict[str, list[GeneralItem]], settings: GeneralSettings) -> None:
    """Write a file for each leaf task and the settings, and remove files of leaves that are no longer asked."""
    kept = {run.general_answers, run.general_requests}
    for leaf, rows in items.items():
        path = run.general / f"{leaf}.jsonl"
        assert FILE_NAME.fullmatch(leaf), "task_index.leaves refuses other names"
        write_jsonl(path, rows)
        kept.add(path)
    for path in sorted(run.general.glob("*.jsonl")):
        if path not in kept:
            path.unlink()
    write_whole(run.general_settings, dumps(msgspec.to_builtins(settings)) + "\n")


def _text(value: Any) -> str:
    """A value of lm-eval as text; a list by its first entry."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} […]"


if __name__ == "__main__":
    run_stage(main)
