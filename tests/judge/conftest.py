"""A judge's configuration that points at a server of the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from openai_server import KEY, OpenAiServer

from sciriff.api import limits
from sciriff.config import Config

JudgedConfig = Callable[..., Config]
COMPOSED: dict[tuple[str, ...], Config] = {}
"""Overrides -> their config; to compose one takes longer than to judge ten answers."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def judged(composed: Callable[..., Config], tmp_path: Path) -> JudgedConfig:
    """`judged(server, "judge.batch=true")` is the config of a run that this server judges."""

    def config(server: OpenAiServer, *overrides: str) -> Config:
        if overrides not in COMPOSED:
            settings = ("judge=openai", "judge.attempts=4", "judge.poll_seconds=0.05")
            COMPOSED[overrides] = composed("experiment=demo", "name=a", *settings, *overrides)
        found = COMPOSED[overrides]
        judge = replace(found.judge, base_url=server.base_url)
        return replace(found, run_dir=str(tmp_path / "run"), judge=judge)

    return config
