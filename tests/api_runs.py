"""Runs whose prompts a server answers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anthropic_server import AnthropicServer
from api_server import KEY, ApiServer
from openai_server import OpenAiServer
from predict_runs import ROOT, make_run, row, write_rows
from told_by_driver import told

from sciriff.config import ApiModelConfig, EngineConfig, ModelConfig
from sciriff.data.records import Prediction
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir

TASKS = ("bioasq_list_qa", "scierc_ner", "scifact_entailment")
SERVERS: dict[str, type[ApiServer]] = {"openai": OpenAiServer, "anthropic": AnthropicServer}
KEY_NAME = "TEST_API_KEY"


def write_instances(path: Path, count: int) -> Path:
    """Prompts `Question N?` of three tasks, each with its own."""
    return write_rows(path, [row(f"{TASKS[n % 3]}:v:{n}", f"Question {n}?", f'["{n}"]') for n in range(count)])


def api_model(provider: str, **facts: Any) -> ModelConfig:
    about = {"name": f"{provider}-model", "context": 4096, **facts}
    return ModelConfig(name="kept", chat="server", api=ApiModelConfig(provider=provider, **about))


def api_run(
    folder: Path,
    server: ApiServer,
    instances: Path,
    *,
    model: ModelConfig | None = None,
    engine: dict[str, Any] | None = None,
    **evaluation: Any,
) -> RunDir:
    """A run folder whose prompts this server is to answer."""
    provider = next(name for name, kind in SERVERS.items() if isinstance(server, kind))
    usual = {"base_url": server.base_url, "api_key_env": KEY_NAME, "attempts": 4, "poll_seconds": 0.05}
    chosen = EngineConfig(**{"name": provider, **usual, "input_usd": 1.0, "output_usd": 1000.0, **(engine or {})})
    return make_run(folder, model=model or api_model(provider), engine=chosen, path=str(instances), **evaluation)


def start(run: RunDir) -> "subprocess.Popen[str]":
    """The stage as the driver starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "sciriff.predict", str(run.root)],
        cwd=ROOT,
        env={**os.environ, KEY_NAME: KEY, **told(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def rows_of(run: RunDir) -> dict[str, Prediction]:
    return {
        prediction.instance_id: prediction
        for task in TASKS
        if (path := run.predictions / f"{task}.jsonl").exists()
        for prediction in read_jsonl(path, Prediction)
    }
