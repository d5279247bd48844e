"""What Hydra cannot compose is told in a line of ours."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sciriff.config import conf_dir
from sciriff.config.compose_error import explain, in_hydra
from sciriff.config.registration import register


def said(*typed: str) -> str:
    """The line about what was typed."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), pytest.raises(Exception) as raised:
        compose("config", list(typed))
    return in_hydra(raised.value, typed) or explain(raised.value)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("judge=null", "judge=null is no option; judge=none is, or one of anthropic, local, openai, recorded"),
        ("engine=null", "engine=null is no option; it is one of anthropic, local, "),
        (
            "model=llama2_7b model.api.name=foo",
            "model.api is null here, so model.api.name cannot be set; choose a model=... that has it",
        ),
        (
            "model=llama2_7b +model.api.request.effort=low",
            "model.api is null here, so model.api.request.effort cannot be set; choose a model=... that has it",
        ),
        (
            "train=none model=gpt_4o model.shape.layers=3",
            "model.shape is null here, so model.shape.layers cannot be set; choose a model=... that has it",
        ),
        (
            "train=none model=gpt_4o model.shape={context:3}",
            "model.shape is null here, so model.shape cannot be set; choose a model=... that has it",
        ),
        ("predictions=préd", "Hydra cannot read préd as it is; put quotes inside: 'predictions=\"préd\"'"),
        ("cache_dir=~/c", "Hydra cannot read ~/c as it is; put quotes inside: 'cache_dir=\"~/c\"'"),
        ("+mix.sources.q.columns.prompt={{q}}", "around a template: '+mix.sources.q.columns.prompt=\"{{q}}\"'"),
        ("stages=[mix,~a]", "inside a list, put quotes around what is not plain: 'stages=[\"...\"]'"),
        ("predictions=a,b", "a list is predictions=[a,b], and one text 'predictions=\"a,b\"'"),
        ("stages=mix", "stages=mix: the value must be a list: stages=[mix]"),
        ("plan=null", "plan=null: it cannot be null"),
        ("foo=bar", "foo is not a key of the config; there is allow_missing, cache_dir, "),
        ("train.lr=3", "is not a key of the config; did you mean 'train.learning_rate' or 'train.lora_rank'?"),
        ("train.foo=3", "is not a key of the config; train has activation_checkpointing, "),
        ("trian.epochs=3", "is not a key of the config; did you mean 'train'?"),
        (
            "mix.source.quiz.path=a",
            "mix.source.quiz.path is not a key of the config; did you mean 'mix.sources.quiz.path'?",
        ),
        ("+mix.sources.a/b.path=c.csv", "'a/b' is no name of a source: at most 60 letters, digits, _ and -"),
        ("learning_rate=3", "is not a key of the config; did you mean 'train.learning_rate'?"),
        ("general.limit.mmlu=4", "with a plus it is added: +general.limit.mmlu=..."),
        ("engine.extra.max_num_seqs=4", "with a plus it is added: +engine.extra.max_num_seqs=..."),
    ],
)
def test_one_line_says_what_is_wrong(typed, line):
    text = said(*typed.split())
    assert line in text and "\n" not in text and len(text) < 600


@pytest.mark.parametrize(
    ("group", "text", "line"),
    [
        (
            "train",
            "defaults: [full]\nlearning_rte: 1\n",
            "learning_rte is not a key of the config; did you mean 'train.l",
        ),
        (
            "model",
            "defaults: [tiny]\nshape:\n  layrs: 1\n",
            "layrs is not a key of the config; did you mean 'model.shape",
        ),
        ("experiment", "# @package _global_\ntrain:\n  lerning_rate: 3\n", "did you mean 'train.learning_rate'?"),
    ],
)
def test_a_wrong_key_in_a_file_of_ones_own(group, text, line, tmp_path: Path):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(text)
    told = said(f"hydra.searchpath=[file://{tmp_path}]", f"{group}=mine")
    assert told.startswith(f"{group}/mine.yaml: ") and line in told


@pytest.mark.parametrize("value", ["préd", "~/c", "a=b", "it's", 'a"b', "a b"])
def test_the_quotes_that_are_advised_work(value):
    """As a shell would take them."""

    advised = re.search(r"put quotes inside: (.*)", said(f"predictions={value}~"))
    assert advised is not None
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert compose("config", shlex.split(advised[1])).predictions == f"{value}~"
