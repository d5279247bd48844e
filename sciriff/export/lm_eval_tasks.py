"""Task files of lm-eval: of each task a NAME.yaml, and a NAME.py with the functions that it names."""

import json
import shlex
from pathlib import Path
from typing import Any

from sciriff.export.exported import Exported, ExportedTask, rows_files

TAG = "sciriff"
"""`--tasks sciriff` asks all of them."""
WRITTEN = "Written by `python -m sciriff.export lm_eval`; needs the package sciriff."


def files(exported: Exported) -> dict[str, str]:
    """Name -> text of the files of an export. lm-eval is not needed."""
    found = {}
    for one in exported.tasks:
        found[f"{one.task.name}.yaml"] = _yaml(one, exported)
        found[f"{one.task.name}.py"] = _functions(one, exported)
    return found | rows_files(exported)


def usage(folder: Path) -> str:
    """The command that asks all tasks of an export."""
    model = "--model hf --model_args pretrained=MODEL --apply_chat_template"
    return f"lm-eval run {model} --include_path {shlex.quote(str(folder))} --tasks {TAG}"


def _yaml(one: ExportedTask, exported: Exported) -> str:
    def function(name: str) -> str:
        return f"!function {one.task.name}.{name}"

    hub, split = exported.hub, "validation"
    if hub is None:
        source = [f"custom_dataset: {function('rows')}"]
    else:
        split = hub.split
        known = {"dataset_path": hub.hub, "dataset_name": hub.config}
        source = [f"{key}: {_quoted(value)}" for key, value in known.items() if value is not None]
        source.append(f"process_docs: {function('rows')}")
    metrics = []
    for column in one.columns:
        metrics += [f"  - metric: {_quoted(column)}", f"    aggregation: {function(column)}"]
        metrics.append("    higher_is_better: true")
    lines = [
        f"# {WRITTEN}",
        f"task: {_quoted(one.task.name)}",
        f"tag: {TAG}",
        *source,
        f"validation_split: {_quoted(split)}",
        "output_type: generate_until",
        "doc_to_text: input",
        "doc_to_target: output",
        "num_fewshot: 0",
        # the end token alone ends an answer: lm-eval's own choice is an empty line, which answers may have
        f"generation_kwargs: {{until: [], do_sample: false, max_gen_toks: {exported.max_new_tokens}}}",
        f"process_results: {function('counts')}",
        "metric_list:",
        *metrics,
        "metadata: {version: 1.0}",
    ]
    return "\n".join(lines) + "\n"


def _functions(one: ExportedTask, exported: Exported) -> str:
    name = one.task.name
    rows = f"rows_beside(__file__, {_quoted(name)})" if exported.hub is None else f"rows_of({_quoted(name)})"
    lines = [
        f'"""Rows and scores of {name}, for lm-eval.\n\n{WRITTEN}\n"""',
        "",
        f"from sciriff.export.lm_eval_hooks import counts_of, {rows.partition('(')[0]}, score_of",
        "from sciriff.export.scoring import Scoring",
        "",
        f"scoring = Scoring({one.arguments})",
        f"rows = {rows}",
        f"counts = counts_of(scoring, {json.dumps(one.columns)})",
        *(f"{column} = score_of(scoring, {_quoted(column)})" for column in one.columns),
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """A text as JSON has it, which both YAML and Python read."""
    return json.dumps(value)
