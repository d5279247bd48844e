"""The servers that a config names: who answers the prompts, who judges, and what they need before they can be asked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sciriff.config import Config, JudgeConfig
from sciriff.models.api.service import Service
from sciriff.run.user_error import UserError


def answering_service(config: Config) -> Service:
    """Who answers. UserError where nobody can know the server's name for the model."""
    engine, model = config.engine, config.answering_model
    name = engine.model or (model.api.name if model.api else model.path)
    if name is None:
        raise UserError(f"engine={engine.name} needs engine.model=NAME, the server's name for model={model.name}")
    if model.api is not None and not model.api.takes_temperature:
        engine = replace(engine, temperature=None)
    return Service("engine", engine.name, name, engine, "a model that runs here, or engine=local", "answering")


def judging_service(judge: JudgeConfig) -> Service:
    """Who judges."""
    return Service("judge", judge.provider, judge.model or "", judge, "judge=none or judge=local", "judging")


def judge_problems(judge: JudgeConfig) -> Iterator[str]:
    """Why this judge cannot be asked from here, one line each."""
    if judge.provider == "recorded":
        if judge.path is None:
            yield "judge=recorded needs judge.path=FOLDER with <task>/lm_judge_raw.json in it"
        elif not Path(judge.path).is_dir():
            yield f"judge.path={judge.path} is not a folder"
    if judge.asks:
        yield from judging_service(judge).problems()
