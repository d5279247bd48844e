"""vLLM's own OpenAI server, asked with messages, answers as transformers does with token ids. SCIRIFF_VLLM_PYTHON."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from api_runs import rows_of, start, wait_for
from predict_runs import finish, make_run, row, save_lively_model, tiny_model, write_rows

from sciriff.config import EngineConfig, ModelConfig
from sciriff.models.chat_markup import jinja_template
from sciriff.models.loading import load_tokenizer
from sciriff.run.run_dir import RunDir

VLLM_PYTHON = os.environ.get("SCIRIFF_VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not VLLM_PYTHON, reason="SCIRIFF_VLLM_PYTHON names no interpreter with vLLM"),
]
TASKS = ("scierc_ner", "bioasq_list_qa")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A saved model with its chat template, as training leaves it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    save_lively_model(folder)
    tokenizer = load_tokenizer(tiny_model())
    tokenizer.chat_template = jinja_template("tulu")
    tokenizer.save_pretrained(folder)
    return ModelConfig(name="tiny", path=str(folder), chat="tulu", dtype="float32", shape=tiny_model().shape)


@pytest.fixture(scope="module")
def base_url(model: ModelConfig) -> Iterator[str]:
    """A running server. It is a process group of its own, for the engine behind it is a process, too."""
    assert model.path is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", model.path, "--dtype", "float32", "--max-model-len", "256", "--enforce-eager"),
    ]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment.pop("PYTHONPATH", None)
    log = Path(model.path).with_name("server.log")
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        give_up_at = time.monotonic() + 500
        while not is_up(port):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < give_up_at, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return response.status == 200
    except (URLError, OSError):
        return False


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """Eighty prompts of two tasks; some are too long for a context of 256 tokens."""
    words = [f"word{n} " * (200 if n % 20 == 19 else n % 30 + 1) for n in range(80)]
    rows = [row(f"{TASKS[n % 2]}:v:{n}", f"Find the names.\n\n{text}\n\nWhich?") for n, text in enumerate(words)]
    return write_rows(tmp_path / "instances.jsonl", rows)


def served_run(
    folder: Path, base_url: str, model: ModelConfig, instances: Path, name: str | None = None, at_once: int = 8
) -> RunDir:
    price = {"input_usd": 0.0, "output_usd": 0.0}
    chosen = EngineConfig(name="local", base_url=base_url, model=name, max_concurrency=at_once, **price)
    return make_run(folder, path=str(instances), model=model, engine=chosen)


def test_a_served_model_answers_as_it_does_in_transformers(
    tmp_path: Path, base_url: str, model: ModelConfig, instances: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed once on the way: what is there is not asked again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    run = served_run(tmp_path / "served", base_url, model, instances, at_once=4)
    process = start(run)
    wait_for(lambda: run.paid_answers.exists() and run.paid_answers.read_bytes().count(b"\n") >= 10, seconds=300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = run.paid_answers.read_bytes()
    kept = before.count(b"\n")
    assert 10 <= kept < 80
    assert f"{kept} answers are here already" in finish(run)
    assert run.paid_answers.read_bytes().startswith(before[: before.rindex(b"\n") + 1])

    # the same context for both: the server's markup is the model's own, and short
    plain = make_run(tmp_path / "plain", path=str(instances), model=model)
    finish(plain)
    served, here = rows_of(run), rows_of(plain)
    assert list(served) == list(here)
    uncut = [name for name, one in here.items() if not one.truncated_tokens and not served[name].truncated_tokens]
    assert 60 < len(uncut) < 80
    # a server shows neither special tokens, which this model makes in the middle of answers, nor half a character
    special = re.compile("|".join(map(re.escape, load_tokenizer(model).all_special_tokens)))
    texts = {name: (served[name].prediction, special.sub("", here[name].prediction).rstrip("\ufffd")) for name in uncut}
    same = [name for name, (theirs, ours) in texts.items() if theirs == ours]
    assert len(same) >= 0.95 * len(uncut), {name: both for name, both in texts.items() if both[0] != both[1]}
    for name in same:
        ended = "no_content" if here[name].finish_reason == "stop" and not served[name].prediction else None
        assert served[name].finish_reason == (ended or here[name].finish_reason)
        assert served[name].prompt_tokens == here[name].prompt_tokens
    assert {one.finish_reason for one in served.values()} - {"no_content"} == {"stop", "length"}
    assert all(one.truncated_tokens > 0 for name, one in served.items() if name.endswith((":19", ":39", ":59", ":79")))


def test_a_name_that_the_server_does_not_know(tmp_path: Path, base_url: str, model: ModelConfig, instances: Path):
    process = start(served_run(tmp_path / "run", base_url, model, instances, "another"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert output.splitlines()[-1].startswith(f"error: {base_url}: 404 ")
    assert "another" in output.splitlines()[-1]
