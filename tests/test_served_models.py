"""Models that only their provider has: which engine answers, what they cost, what cannot be done with them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import KEY, Answer
from openai_server import OpenAiServer

from sciriff.config import Config, conf_dir
from sciriff.driver.run_name import run_name
from sciriff.driver.stages import STAGES
from sciriff.models.api.prices import price_list
from sciriff.models.api.service import answering_service
from sciriff.run.run_dir import RunDir

Composed = Callable[..., Config]
SERVED = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml") if "api:" in path.read_text())


def test_there_are_some():
    assert {"gpt_4o", "gpt_4o_mini", "claude_haiku_4_5", "claude_sonnet_5_5"} <= set(SERVED)


@pytest.mark.parametrize("name", SERVED)
def test_a_served_model_brings_its_engine_and_has_a_price(name: str, composed: Composed):
    config = composed("train=none", f"model={name}")
    assert config.model.api is not None
    assert config.engine.name == config.model.api.provider
    assert config.model.api.name in price_list()
    assert config.engine.max_usd == 10
    asked = answering_service(config)
    assert (asked.model, asked.provider) == (config.model.api.name, config.engine.name)
    assert asked.server.temperature == (0.0 if config.model.api.takes_temperature else None)


def test_in_a_sweep_each_model_has_its_own_engine(composed: Composed):
    models = ("gpt_4o", "claude_haiku_4_5", "scitulu_7b")
    assert [composed("train=none", f"model={model}").engine.name for model in models] == ["openai", "anthropic", "vllm"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("model=gpt_4o", "model=gpt_4o cannot be trained here, for openai keeps its weights: train=none"),
        ("train=none model=gpt_4o engine=vllm", "model=gpt_4o answers over openai's API: engine=openai"),
        ("train=none model=claude_opus_5_5 engine=openai", "answers over anthropic's API: engine=anthropic"),
        ("train=none model=gpt_4o model.path=x", "model.path has no meaning for model=gpt_4o"),
        ("train=none model=gpt_4o model.chat=tulu", "model.chat=tulu: openai writes the markup, so it must be server"),
        ("train=none model=gpt_4o eval.model=x", "eval.model names weights, and model=gpt_4o is one that openai"),
        ("train=none model=claude_opus_5_5 engine.temperature=0.7", "model=claude_opus_5_5 takes no temperature"),
        ("train=none model=llama2_7b engine=anthropic", "engine=anthropic has no model=llama2_7b"),
        ("model=llama2_7b engine=local", "engine=local asks a server, and none has the model that this run trains"),
        ("train=none engine=openai engine.python=/usr/bin/python3", "engine.python has no meaning for engine=openai"),
        ("train=none engine.temperature=-1", "engine.temperature=-1.0 must be at least 0"),
        ("train=none engine.top_p=1.5", "engine.top_p=1.5 must be above 0 and at most 1"),
        ("train=none engine.top_p=0.9", "engine.top_p=0.9 means nothing at engine.temperature=0"),
        ("train=none eval.samples=4", "eval.samples=4 needs a temperature; at engine.temperature=0 all 4 answers"),
        (
            "train=none eval.samples=4 engine.temperature=1 eval.parity=reference",
            "eval.samples=4 does not go with eval.parity=reference",
        ),
        (
            "train=none engine.temperature=1 eval.parity=reference",
            "engine.temperature=1 does not go with eval.parity=reference",
        ),
        ("train=none model=claude_haiku_4_5 engine.temperature=1.5", "engine=anthropic takes 1 at most"),
        (
            "train=none model=claude_haiku_4_5 engine.temperature=0.5 engine.top_p=0.9",
            "engine.temperature=0.5 and engine.top_p=0.9: engine=anthropic takes one of them",
        ),
        (
            "train=none model=claude_opus_5_5 engine.temperature=null engine.top_p=0.9",
            "engine.top_p=0.9: model=claude_opus_5_5 takes neither it nor a temperature",
        ),
        ("train=none engine=local engine.base_url=localhost", "engine.base_url must be http(s)://HOST[:PORT]/v1"),
        ("train=none engine=openai engine.api_key_env=sk-123", "must be the name of an environment variable, not"),
        (
            "train=none engine=openai engine.input_usd=1",
            "engine.input_usd and engine.output_usd must be given",
        ),
        ("train=none engine=openai engine.max_usd=-1", "engine.max_usd=-1.0 must be at least 0"),
        ("train=none engine=openai engine.tokens_per_minute=0", "engine.tokens_per_minute=0.0 must be above 0"),
        ("train=none model=tiny model.shape=null", "model.shape is not set"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(typed: str, line: str, composed: Composed):
    with pytest.raises(ValueError, match=re.escape(line)):
        composed(*typed.split())


def test_a_run_that_was_trained_before_may_be_served(composed: Composed):
    config = composed("model=llama2_7b", "engine=local", "stages=[predict,score]", "run_dir=/runs/a")
    assert answering_service(config).model == "/runs/a/model"


def test_money_and_speed_make_no_other_run(composed: Composed, tmp_path: Path):
    """Or else a higher cap would start from zero, and pay again."""
    typed = ["train=none", "model=gpt_4o"]
    more = ["engine.max_usd=99", "engine.max_concurrency=2", "engine.batch=true", "engine.base_url=http://x/v1"]
    choices = {"model": "gpt_4o", "train": "none"}
    assert run_name([*typed, *more], choices) == run_name(typed, choices) == "gpt_4o"
    (tmp_path / "rows.jsonl").write_text("{}\n")
    local = f"eval.path={tmp_path / 'rows.jsonl'}"
    digests = [
        STAGES["predict"].inputs(composed(*typed, local, *extra), RunDir(tmp_path))
        for extra in ([], more, ["engine.temperature=1"])
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
def test_a_table_of_baselines(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two models behind one server, answered, scored and compared; a second start with more money asks nothing."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAiServer(lambda prompt, nth: Answer('["pneumonia"]')) as server:
        command = ["-m", "train=none", "model=gpt_4o,gpt_4o_mini", "eval=sample", "eval.limit=2", "log=none"]
        command += [f"engine.base_url={server.base_url}", "eval.resamples=100"]
        refused = cli(*command, "engine.max_usd=0.0001")
        assert refused.returncode == 1
        assert refused.stderr.count("more than engine.max_usd=0.0001: raise it") == 2
        assert server.asked.total() == 0
        result = cli(*command)
        assert result.returncode == 0, result.stderr
        assert {body["model"] for body in server.bodies} == {"gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"}
        asked = server.asked.total()
        assert asked == 36
        again = cli(*command, "engine.max_usd=50")
        assert again.returncode == 0, again.stderr
        assert "predict: up to date" in again.stderr
        assert server.asked.total() == asked
    names = ("gpt_4o-sample-limit-2", "gpt_4o_mini-sample-limit-2")
    for name in names:
        page = (tmp_path / "runs" / name / "report.html").read_text()
        assert "kept by openai" in page
        assert KEY not in page
    table = cli(*(f"runs/{name}" for name in names), module="sciriff.compare")
    assert table.returncode == 0, table.stderr
    assert "gpt_4o_mini" in table.stdout
