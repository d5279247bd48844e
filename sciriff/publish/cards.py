"""README.md of what is pushed: the run's own card with its scores, which the hub reads as `model-index`.

The hub has a second place for scores, `.eval_results/`, for datasets that it has registered as benchmarks; SciRIFF is
none of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sciriff.config import Config, ModelConfig
from sciriff.config.plain_yaml import plain_values, written
from sciriff.data.mix_card import MixCard
from sciriff.data.source_files import instances_source
from sciriff.publish import licences
from sciriff.results.markdown_table import escaped, markdown_table
from sciriff.results.scores import NOTES, Scores, columns_and_statistics, general_and_mean, summary_coverage
from sciriff.run.user_error import UserError

TASK = "text-generation"
DIGITS = 4
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's words for numbers of rows; more than the last are 1M<n<10M."""
KNOWN = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "mit", "odc-by")
"""Licences of rows that the hub knows by this name."""


def of_model(
    page: str, config: Config, scores: Scores | None, licence: str | None, what: str, overlap: str | None = None
) -> str:
    """The card of a model or adapter: `page` as training wrote it, then the licence and the scores of the model.
    `overlap` says how many rows of its mix hold text of evaluation prompts."""
    head, body = parts(page)
    sections = [body.rstrip("\n"), "## Licence", *licences.lines(licence)]
    if scores is not None:
        results = list(evaluations(config, scores))
        if results:
            from huggingface_hub.repocard_data import eval_results_to_model_index

            head["model-index"] = _without_nothing(eval_results_to_model_index(config.name or "model", results))
        sections += ["## Scores", *_scores(config, scores, what, overlap)]
    return f"---\n{written(head)}---\n" + "\n\n".join(sections) + "\n"


def of_mix(page: str, card: MixCard, config: Config, files: Iterable[str]) -> str:
    """The card of a mix as a dataset: `page`, which the mix stage wrote, below what the hub reads."""
    rows = card["rows"]
    terms = sorted(set(card["licenses"].values()))
    known = [term for term in terms if term in KNOWN]
    head: dict[str, Any] = {
        "license": (known[0] if len(known) == 1 else known) if len(known) == len(terms) and known else "other",
        "task_categories": [TASK],
        "size_categories": [next((words for most, words in SIZES if rows < most), "1M<n<10M")],
        "tags": ["sciriff", "scientific-literature", "instruction-tuning"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name.partition(".")[0], "path": name} for name in sorted(files)],
            }
        ],
    }
    sources = markdown_table(("source", "licence"), sorted(card["licenses"].items()))
    about = [
        "Each row is a conversation: `dataset` and `id` say where it is from, `messages` has the turns. Rows of "
        "several sources stand here under the terms of each:",
        sources,
        *([] if "unknown" not in terms else ["Whoever makes this public finds out first what is unknown here."]),
    ]
    title, _, rest = page.partition("\n")
    return f"---\n{written(head)}---\n{title}\n\n" + "\n\n".join(about) + "\n" + rest


def parts(page: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a card and the text below it. UserError for a head that is not one."""
    opening, _, rest = page.partition("---\n")
    head, end, body = rest.partition("\n---\n")
    if opening or not end:
        return {}, page
    try:
        return dict(plain_values(head.encode())), body
    except ValueError as error:
        raise UserError(f"the head of a card is not YAML ({error}); run the stage that writes it again") from None


def named_places(text: str, places: Iterable[str]) -> str:
    """The text with each path of this machine, and what is below it, shortened to the last part; the home folder,
    whose last part is a person's name, to ~."""

    def shown(found: re.Match[str]) -> str:
        path = Path(found[0])
        return "~" if path == Path.home() else path.name

    for path in sorted(places, key=len, reverse=True):
        # not as a part of an address or of another path
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-]|\.\w)(/[^\s`'\"<>()|,;:]*)?", shown, text)
    return text


def evaluations(config: Config, scores: Scores) -> Iterator[Any]:
    """The scores as huggingface_hub's EvalResult, in [0, 1], with intervals and numbers of instances beside them."""
    from huggingface_hub import EvalResult

    source = instances_source(config.eval)
    local = source.path is not None
    of_dataset: dict[str, Any] = {
        "task_type": TASK,
        "task_name": "held-out SciRIFF tasks",
        "dataset_type": "custom" if local else source.hub,
        "dataset_name": "local instances in SciRIFF's form" if local else f"{source.hub}, held-out tasks",
        "dataset_config": None if local else source.config,
        "dataset_split": source.split,
        "dataset_revision": None if local else source.revision,
    }
    summary = scores["summary"]
    for name, score in columns_and_statistics(summary).items():
        task, _, metric = name.partition("/")
        about = _about(score, scores["tasks"].get(task))
        label = name if metric else f"{name} of {summary_coverage(summary)} columns"
        yield EvalResult(
            **of_dataset,
            metric_type=metric or name,
            metric_name=label,
            metric_value=round(score["value"], DIGITS),
            metric_args=about or None,
        )
    general = scores.get("general")
    for name, task_scores in general["tasks"].items() if general else ():
        counts = {"n": task_scores["n"], "of": task_scores["of"], "shots": task_scores["shots"]}
        yield EvalResult(
            task_type=TASK,
            task_name="general abilities (lm-eval)",
            dataset_type=name,
            dataset_name=name,
            metric_type=task_scores["metric"].partition(",")[0],
            metric_name=task_scores["metric"],
            metric_value=round(task_scores["value"], DIGITS),
            metric_args={**_about(task_scores, None), **counts},
        )


def _about(score: Mapping[str, Any], task: Mapping[str, Any] | None) -> dict[str, Any]:
    low_and_high = [round(end, DIGITS) for end in score.get("ci95", ())]
    return {
        **({"ci95": low_and_high} if low_and_high else {}),
        **({"n": task["n"]} if task else {}),
        **({"missing_answers": task["missing"]} if task and task["missing"] else {}),
        **({"note": score["selected"]} if "selected" in score else {}),
    }


def _scores(config: Config, scores: Scores, what: str, overlap: str | None) -> Iterator[str]:
    summary = scores["summary"]
    rows, selected = [], dict[str, list[str]]()
    for name, score in columns_and_statistics(summary).items():
        task = name.partition("/")[0]
        n = str(scores["tasks"][task]["n"]) if task in scores["tasks"] else ""
        rows.append((name, *_shown(score), n))
        if note := dict[str, Any](score).get("selected"):
            selected.setdefault(escaped(note), []).append(escaped(name))
    split = (
        f"the {config.eval.split} split of {config.eval.source.hub}" if config.eval.path is None else "local instances"
    )
    limited = f", at most {config.eval.limit} of each task" if config.eval.limit else ""
    who = "The model" if what == "model" else "The model with this adapter merged into it"
    rules = ", by the rules of the original code" if scores["parity"] == "reference" else ""
    samples = f", {scores['samples']} answers to each prompt" if "samples" in scores else ""
    yield (
        f"{who} answered {split}{limited}{samples}{rules} (x100; mean and median are of {summary_coverage(summary)} "
        "columns)."
    )
    yield markdown_table(("score", "value", "95 % interval", "instances"), rows)
    notes = {note for score in summary["columns"].values() for note in score.get("ci95_note", "").split(NOTES) if note}
    if notes:
        yield "\n".join(f"- {escaped(note)}" for note in sorted(notes))
    for note, names in selected.items():
        yield f"{note[:1].upper()}{note[1:]}, so that the score of another set may be lower: {', '.join(names)}."
    if summary["missing"]:
        yield f"Not scored: {', '.join(map(escaped, summary['missing']))}."
    for name, result in scores["tasks"].items():
        if result["missing"]:
            yield f"{escaped(name)}: {result['missing']:,} answers are missing, and its scores are without them."
    if own_tasks := scores.get("own_tasks"):
        yield f"Not of SciRIFF's nine held-out tasks: {', '.join(map(escaped, sorted(own_tasks)))}."
    if overlap is not None:
        yield f"Of the mix that it was trained on, {escaped(overlap)}."
    general = scores.get("general")
    if general:
        tasks = general["tasks"]
        table = [
            (name, *_shown(score), f"{tasks[name]['n']} of {tasks[name]['of']}" if name in tasks else "")
            for name, score in general_and_mean(general).items()
        ]
        yield "General abilities, by lm-eval's tasks:"
        yield markdown_table(("task", "value", "95 % interval", "documents"), table)


def _shown(score: Mapping[str, Any]) -> tuple[str, str]:
    low_and_high = " to ".join(f"{100 * end:.1f}" for end in score.get("ci95", ()))
    return f"{100 * score['value']:.1f}", low_and_high


def _without_nothing(values: Any) -> Any:
    """Containers without the keys whose value is None, which the hub's checker refuses."""
    if isinstance(values, dict):
        return {key: _without_nothing(value) for key, value in values.items() if value is not None}
    return [_without_nothing(value) for value in values] if isinstance(values, list) else values


def base_licence(model: ModelConfig, head: Mapping[str, Any]) -> str | None:
    """The licence of the base model: that of the card, which training or merging wrote, or the config's."""
    named = head.get("license_name") or head.get("license") or model.license
    return named if isinstance(named, str) else None
