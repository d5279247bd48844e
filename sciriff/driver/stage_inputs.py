"""What decides what a stage makes, as digests: a stage whose inputs are unchanged is not run again."""

from collections.abc import Mapping
from pathlib import Path

from sciriff import __version__
from sciriff.config import Config, ModelConfig, as_dict, what_decides
from sciriff.data.source_files import instances_source, source_digest, validation_split
from sciriff.run.digest import file_digest, tree_digest, value_digest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

MISSING_ANSWERS = "missing answers"
"""An input of predictions that a server makes under allow_missing. Those that were made without it serve with it, too;
the other way round what is missing is asked for again."""


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the inputs for which a stage that was given those of `before` has to run again."""
    return sorted(
        name
        for name in {**now, **before}
        if now.get(name) != before.get(name) and not (name == MISSING_ANSWERS and name not in before)
    )


def of_mix(config: Config, run: RunDir) -> dict[str, str]:
    sources = config.mix.sources
    read = [sources.sciriff, sources.tulu, sources.published]
    if config.mix.validation_rows:
        read += filter(None, map(validation_split, (sources.sciriff, sources.tulu)))
    data = [source_digest(source) for source in read]
    given = {"mix": tree_digest(Path(config.mix.path))} if config.mix.path else {"sources": value_digest(data)}
    return {
        "recipe": value_digest({**what_decides(config, "mix"), "path": None}),
        **given,
        "evaluation prompts": _prompts_digest(config) if config.mix.overlap != "none" else "none",
        "tokenizer": _model_digest(config.model, weights=False),
    }


def of_training(config: Config, run: RunDir) -> dict[str, str]:
    """UserError where there is no mix to train on."""
    if not run.mix.is_file():
        raise UserError(f"{run.mix}: there is no mix yet: add mix to stages")
    recipe = [what_decides(config, "train"), what_decides(config, "deepspeed"), config.seed]
    return {
        "mix": file_digest(run.mix),
        "model": _model_digest(config.model, weights=True),
        "recipe": value_digest(recipe),
        **({"validation rows": file_digest(run.validation)} if _chooses(config, run) else {}),
    }


def of_prediction(config: Config, run: RunDir) -> dict[str, str]:
    return {
        "model": _model_digest(config.answering_model, weights=True),
        "instances": source_digest(instances_source(config.eval)),
        "settings": value_digest([what_decides(config, "eval"), what_decides(config, "engine"), config.seed]),
        **({MISSING_ANSWERS: "allowed"} if config.engine.asks and config.allow_missing else {}),
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
    chosen = config.eval
    rules = [chosen.parity, chosen.tasks, chosen.resamples, config.allow_missing, __version__]
    return {
        "predictions": _predictions_digest(config, run),
        "judgements": tree_digest(run.judgements) if run.judgements.is_dir() else "none",
        "rules": value_digest(rules),
    }


def of_report(config: Config, run: RunDir) -> dict[str, str]:
    shown = [run.scores, run.metrics, run.mix_card, *(RunDir(Path(b)).scores for b in config.report.beside)]
    digests = [file_digest(path) if path.is_file() else "none" for path in shown]
    scored = tree_digest(run.per_instance) if run.per_instance.is_dir() else "none"
    return {
        "results": value_digest([*digests, scored]),
        "predictions": _predictions_digest(config, run),
        "settings": value_digest([as_dict(config.report), config.name, __version__]),
    }


def _predictions_digest(config: Config, run: RunDir) -> str:
    return tree_digest(Path(config.predictions) if config.predictions else run.predictions)


def _chooses(config: Config, run: RunDir) -> bool:
    """Whether the validation rows decide which model is kept. Where there are none, the stage itself refuses."""
    return config.train.keep == "best" and run.validation.is_file()


def _prompts_digest(config: Config) -> str:
    """Digest of the prompts that the mix is compared with. What happens without them is for the mix stage to say."""
    try:
        return source_digest(instances_source(config.eval))
    except UserError:
        return "cannot be read"


def _model_digest(model: ModelConfig, *, weights: bool) -> str:
    """What a model is, without reading its weights: of a local folder the small files' contents and the large ones'
    sizes and times, of the hub the id and revision."""
    about: list[object] = [as_dict(model)]
    for place in dict.fromkeys((model.path, model.tokenizer)):
        if place is None or not Path(place).is_dir():
            continue
        for file in sorted(p for p in Path(place).rglob("*") if p.is_file()):
            if file.suffix in (".safetensors", ".bin", ".pt", ".gguf"):
                if weights:
                    about.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])
            else:
                about.append([file.name, file_digest(file)])
    return value_digest(about)
