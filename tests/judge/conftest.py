"""A judge's configuration that points at a server of the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_server import KEY, ApiServer

from sciriff.config import Config
from sciriff.models.api import limits

JudgedConfig = Callable[..., Config]
COMPOSED: list[Config] = []
"""Config that all tests start from: composing it takes longer than judging ten answers."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def judged(composed: Callable[..., Config], tmp_path: Path) -> JudgedConfig:
    """`judged(server, batch=True)` is the config of a run that this server judges."""

    def config(server: ApiServer, **settings: Any) -> Config:
        if not COMPOSED:
            COMPOSED.append(composed("experiment=demo", "name=a", "judge=openai"))
        usual = {"base_url": server.base_url, "attempts": 4, "poll_seconds": 0.05}
        judge = replace(COMPOSED[0].judge, **{**usual, **settings})
        return replace(COMPOSED[0], run_dir=str(tmp_path / "run"), judge=judge)

    return config
