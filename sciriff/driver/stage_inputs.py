"""Digests of a stage's inputs: a stage whose inputs are unchanged is not run again."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sciriff import __version__
from sciriff.config import TRAIN_SPLIT, VALIDATION_ROWS, Config, ModelConfig, as_dict, what_decides
from sciriff.data.selection import origin_of_prompts, train_split
from sciriff.data.source_files import instances_source, source_digest, validation_split
from sciriff.models.mergeable import parents_of
from sciriff.run import machine
from sciriff.run.digest import file_digest, stat_digest, tree_digest, value_digest
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

MISSING_ANSWERS = "missing answers"
"""Input of a server's predictions under allow_missing. Those made without it serve with it, too; not the other way
round."""


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the inputs whose change since `before` makes a stage run again."""
    return sorted(
        name
        for name in {**now, **before}
        if now.get(name) != before.get(name) and not (name == MISSING_ANSWERS and name not in before)
    )


def of_recreate(config: Config, run: RunDir) -> dict[str, str]:
    """The stage itself knows by digests which tasks are up to date; here raw files count by name, size and time."""
    recreate = config.recreate
    card = Path(recreate.out or "") / "card.json"
    return {
        "settings": value_digest([what_decides(config, "recreate"), __version__]),
        "files": stat_digest(*(Path(path) for path in (recreate.templates, recreate.raw, recreate.pin) if path)),
        **({} if card.is_relative_to(run.root) else {"rows": file_digest(card) if card.is_file() else "none"}),
    }


def of_mix(config: Config, run: RunDir) -> dict[str, str]:
    sources = config.mix.sources
    read = list(sources.values())
    if config.mix.validation_rows:
        read += filter(None, (validation_split(source) for name, source in sources.items() if name != "published"))
    data = [source_digest(source) for source in read]
    return {
        "recipe": value_digest({**what_decides(config, "mix"), "path": None}),
        **({"mix": tree_digest(Path(config.mix.path))} if config.mix.path else {"sources": value_digest(data)}),
        "evaluation prompts": _prompts_digest(config) if config.mix.overlap != "none" else "none",
        "tokenizer": _model_digest(_taught(config), weights=False),
        **({"held-out tasks": value_digest(sorted(config.eval.own_tasks))} if config.eval.own_tasks else {}),
    }


def of_training(config: Config, run: RunDir) -> dict[str, str]:
    """UserError where there is no mix to train on."""
    if not run.mix.is_file():
        raise UserError(f"{run.mix}: there is no mix yet: add mix to stages")
    recipe = [what_decides(config, "train"), what_decides(config, "deepspeed"), config.seed]
    watched = config.train.keep == "best" and not config.train.answers
    chooses = watched and run.validation.is_file()  # without rows the stage itself refuses
    return {
        "mix": file_digest(run.mix),
        "model": _model_digest(_taught(config), weights=True),
        "recipe": value_digest(recipe),
        **({"validation rows": file_digest(run.validation)} if chooses else {}),
        **({"prompts that choose": _selection_digest(config, run)} if config.train.answers else {}),
    }


def of_merge(config: Config, run: RunDir) -> dict[str, str]:
    """The parents' files count as those of a model that is trained; its markup and precision are the merged model's."""
    how, found = what_decides(config, "merge"), []
    for one in parents_of(config.merge):
        place = one.path if one.folder is None else str(one.folder)
        alone = replace(_taught(config), name="merged", path=place, tokenizer=None, revision=None, shape=None)
        found.append(_model_digest(alone, weights=True))
    return {
        "models": value_digest(found),
        "method": value_digest([how["method"], config.merge.shares, how["density"], how["seed"]]),
    }


def of_prediction(config: Config, run: RunDir) -> dict[str, str]:
    return {
        "model": _model_digest(config.answering_model, weights=True),
        "instances": source_digest(instances_source(config.eval)),
        "settings": value_digest([what_decides(config, "eval"), what_decides(config, "engine"), config.seed]),
        **({"general tasks": _general_digest(config)} if "general" in config.active_stages else {}),
        **({MISSING_ANSWERS: "allowed"} if config.engine.asks and config.allow_missing else {}),
    }


def of_general(config: Config, run: RunDir) -> dict[str, str]:
    return {
        "tasks": _general_digest(config),
        "answers": file_digest(run.general_answers) if run.general_answers.is_file() else "none",
        "rules": value_digest([config.allow_missing, __version__]),
    }


def of_judge(config: Config, run: RunDir) -> dict[str, str]:
    settings = what_decides(config, "judge")
    path = settings.pop("path")
    recorded = Path(path) if config.judge.provider == "recorded" and path else None
    return {
        "predictions": _predictions_digest(config, run),
        "judge": value_digest([settings.pop("provider"), settings.pop("model"), *settings.values()]),
        "recorded responses": tree_digest(recorded) if recorded else "none",
        "rules": value_digest([config.eval.parity, config.eval.tasks, config.allow_missing, __version__]),
    }


def of_score(config: Config, run: RunDir) -> dict[str, str]:
    wanted = config.eval
    own = [wanted.own_tasks] if wanted.own_tasks else []
    rules = [wanted.parity, wanted.tasks, wanted.resamples, config.allow_missing, __version__, *own]
    return {
        "predictions": _predictions_digest(config, run),
        "judgements": tree_digest(run.judgements) if run.judgements.is_dir() else "none",
        "rules": value_digest(rules),
        **_general_items(config, run),
    }


def of_report(config: Config, run: RunDir) -> dict[str, str]:
    shown = [run.scores, run.metrics, run.mix_card, *(RunDir(Path(b)).scores for b in config.report.beside)]
    digests = [file_digest(path) if path.is_file() else "none" for path in shown]
    scored = tree_digest(run.per_instance) if run.per_instance.is_dir() else "none"
    return {
        "results": value_digest([*digests, scored]),
        "predictions": _predictions_digest(config, run),
        "settings": value_digest([as_dict(config.report), config.name, __version__]),
        **_general_items(config, run, *(RunDir(Path(beside)) for beside in config.report.beside)),
    }


def of_publish(config: Config, run: RunDir) -> dict[str, str]:
    """UserError where the scores are those of an earlier model."""
    predicted = Manifest.read(run.manifest).stages.get("predict")
    answering = _model_digest(config.answering_model, weights=True)
    if config.eval.model is None and predicted is not None and predicted.inputs.get("model") != answering:
        raise UserError(
            f"publish: the answers in {run.predictions} are not of the model as it is now; add predict, score and "
            "report to stages"
        )
    pushed = (run.scores, run.mix, run.validation, run.mix_card)
    digests = [file_digest(path) if path.is_file() else "none" for path in pushed]
    return {
        "model": answering if config.makes_model else "none",
        "cards and scores": value_digest([*digests, stat_digest(run.adapter)]),
        "settings": value_digest([as_dict(config.publish), __version__, os.environ.get("HF_ENDPOINT")]),
    }


def _selection_digest(config: Config, run: RunDir) -> str:
    """Digest of where the prompts of train.best_by=task_mean are taken from. How much of that is reported may change
    later: they stay."""
    origin = origin_of_prompts(config)
    if origin == VALIDATION_ROWS:
        return value_digest([origin, file_digest(run.validation) if run.validation.is_file() else "none"])
    source = train_split(config.eval) if origin == TRAIN_SPLIT else instances_source(config.eval)
    assert source is not None, "origin_of_prompts has looked for one"
    return value_digest([origin, source_digest(source)])


def _general_items(config: Config, run: RunDir, *beside: RunDir) -> dict[str, str]:
    """What the general tasks scored, if this run measures them; in the runs beside it, too."""
    if not config.measures_general:
        return {}
    others = [tree_digest(other.general) for other in beside if other.general.is_dir()]
    own = tree_digest(run.general)
    return {"general scores": value_digest([own, *others]) if others else own}


def _general_digest(config: Config) -> str:
    """Digest of what is asked of the general tasks: settings, lm-eval's version, and local data by size and time."""
    general = config.general
    data = stat_digest(*(Path(path) for path in (general.data, *general.include) if path))
    return value_digest([what_decides(config, "general"), machine.versions().get("lm-eval"), data])


def _predictions_digest(config: Config, run: RunDir) -> str:
    digest = tree_digest(Path(config.predictions) if config.predictions else run.predictions)
    return digest if config.predictions_filter is None else value_digest([digest, config.predictions_filter])


def _prompts_digest(config: Config) -> str:
    """Digest of the prompts that the mix is compared with; the mix stage decides what happens without them."""
    try:
        return source_digest(instances_source(config.eval))
    except UserError:
        return "cannot be read"


def _taught(config: Config) -> ModelConfig:
    """The model that is trained, without what only its answers depend on."""
    return replace(config.model, thinking=None)


def _model_digest(model: ModelConfig, *, weights: bool) -> str:
    """Digest of the hub id and revision, or of a folder's small files, and the sizes and times of its weights."""
    settings = as_dict(model)
    if model.shape is not None and model.shape.read_from:  # it follows from the files
        settings["shape"] = None
    about: list[object] = [settings]
    for place in dict.fromkeys((model.path, model.tokenizer)):
        if place is None or not Path(place).is_dir():
            continue
        for file in sorted(p for p in Path(place).rglob("*") if p.is_file()):
            if file.suffix not in (".safetensors", ".bin", ".pt", ".gguf"):
                about.append([file.name, file_digest(file)])
            elif weights:
                about.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])
    return value_digest(about)
