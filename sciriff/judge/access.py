"""Reach the configured judge, and check beforehand that it can be reached."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.config import JudgeConfig
from sciriff.models.api.service import Service


def service(judge: JudgeConfig) -> Service:
    """The judge as a model behind a server."""
    return Service("judge", judge.provider, judge.model or "", judge, "judge=none or judge=local", "judging")


def problems(judge: JudgeConfig) -> Iterator[str]:
    """Why this judge cannot be asked from here, one line each."""
    if judge.provider == "recorded":
        if judge.path is None:
            yield "judge=recorded needs judge.path=FOLDER with <task>/lm_judge_raw.json in it"
        elif not Path(judge.path).is_dir():
            yield f"judge.path={judge.path} is not a folder"
    if judge.asks:
        yield from service(judge).problems()
