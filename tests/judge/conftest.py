"""A judge's configuration that points at a server of the test."""

from collections.abc import Callable
from pathlib import Path

import pytest
from openai_server import KEY, OpenAiServer

from sciriff.api import limits
from sciriff.config import Config

JudgedConfig = Callable[..., Config]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def judged(composed: Callable[..., Config], tmp_path: Path) -> JudgedConfig:
    """`judged(server, "judge.batch=true")` is the config of a run that this server judges."""

    def config(server: OpenAiServer, *overrides: str) -> Config:
        settings = (f"judge.base_url={server.base_url}", "judge.attempts=4", "judge.poll_seconds=0.05")
        run_dir = f"run_dir={tmp_path / 'run'}"
        return composed("experiment=demo", "name=a", run_dir, "judge=openai", *settings, *overrides)

    return config
