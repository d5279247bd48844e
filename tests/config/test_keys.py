"""What role each key plays stands on its field: what follows from the roles, and which values a key takes."""

from dataclasses import fields, is_dataclass
from typing import get_args

import pytest

from sciriff.config import FREE_TO_CHANGE, KEYS, UNNAMED, Config, what_decides
from sciriff.config.keys import check_values, keys_that
from sciriff.config.roles import Role, Setting, setting, setting_of
from sciriff.config.slurm import SlurmConfig
from sciriff.driver.run_name import run_name
from sciriff.run.user_error import UserError


def leaves(kind: type, section: str = "") -> list[str]:
    """The keys of a section and of those in it, read from the fields by another way than the product's."""
    found = []
    for known in fields(kind):
        inner = [part for part in (known.type, *get_args(known.type)) if is_dataclass(part)]
        key = f"{section}{known.name}"
        found += leaves(inner[0], f"{key}.") if inner else [key]
    return found


def test_every_key_has_a_role():
    assert len(leaves(Config)) > 130
    for key in leaves(Config):
        assert isinstance(KEYS[key].role, Role), key


def test_a_misspelt_part_of_a_setting_is_refused():
    with pytest.raises(TypeError, match="chioces"):
        setting("a", Role.HOW, chioces=("a", "b"))
    with pytest.raises(TypeError, match="not a Role"):
        setting("a", "how")


def test_defaults_are_among_the_values_that_a_key_takes():
    check_values({"train": {known.name: known.default for known in fields(KEYS_OF["train"]) if known.name != "method"}})


KEYS_OF = {known.name: known.type for known in fields(Config)}


def test_what_may_change_in_a_started_run():
    server = "base_url api_key_env via batch max_usd input_usd output_usd max_concurrency requests_per_minute"
    server = f"{server} tokens_per_minute timeout attempts poll_seconds python memory_fraction replicas".split()
    training = "num_processes micro_batch_tokens attention cross_entropy activation_checkpointing checkpoint_every"
    how_much = "tasks own_tasks limit samples max_new_tokens max_new_tokens_of thinking_tokens truncation".split()
    unnamed = {
        *("stages", "dry_run", "run_dir", "cache_dir", "report", "log", "plan", "judge", "general", "publish"),
        "eval.resamples",
        "allow_missing",
        *(f"recreate.{key}" for key in ("out", "workers", "memory_gb", "row_seconds", "add")),
        *(f"engine.{key}" for key in server),
        *(f"train.{key}" for key in (*training.split(), "keep_checkpoints")),
    }
    assert set(UNNAMED) == unnamed | {"name", "recreate.raw"}
    assert set(FREE_TO_CHANGE) == unnamed | {"model.thinking", *(f"eval.{key}" for key in how_much)}


def test_what_decides_nothing_is_in_no_name():
    for key in leaves(Config):
        if KEYS[key].role is Role.HOW:
            typed = [f"{key}=1"]
            assert run_name(typed, {"model": "m", "mix": "x"}) == "m-x", key


def test_keys_that_run_code_or_send_data():
    """A later check of files that somebody else wrote depends on this list: a new field of this kind belongs to it."""
    launcher = [known.name for known in fields(SlurmConfig) if setting_of(known).runs_or_sends]
    assert launcher == ["sbatch", "setup", "python"]
    assert set(keys_that(lambda setting: setting.runs_or_sends)) == {
        *("model.trust_remote_code", "model.api.request", "deepspeed.extra"),
        *("engine.python", "engine.extra", "engine.base_url", "engine.api_key_env"),
        *("engine.via", "judge.base_url", "judge.api_key_env", "judge.via"),
        *("general.include", "general.run_code"),
        *("log.tracker", "log.mode", "log.project", "log.entity", "log.artifacts"),
        *("train.attention", "publish"),
    }


def test_a_section_stands_for_its_keys():
    found = keys_that(lambda setting: setting.role is Role.BOTH)
    assert [key for key in found if "." not in key] == ["model", "seed"]
    assert {"recreate.cap", "recreate.pin"} < set(found), (
        "a section of which some keys decide nothing is not named whole"
    )
    assert Setting(Role.HOW, named=True).in_name is False, "a key that decides nothing cannot be named by mistake"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"stages": ["mix", "trian"]}, "stages=trian is not known; did you mean 'train'?"),
        ({"deepspeed": {"zero_stage": 1}}, "deepspeed.zero_stage=1 is not known; it is one of 0, 2, 3"),
        ({"train": {"num_processes": 0}}, "train.num_processes=0 must be at least"),
        ({"train": {"num_processes": None}}, "train.num_processes=None must be auto or a whole number of 1 or more"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate=nan must be a number that is finite"),
        ({"engine": {"timeout": 0}}, "engine.timeout=0 must be above 0"),
        ({"judge": {"max_usd": -1.0}}, "judge.max_usd=-1.0 must be at least"),
        ({"model": {"shape": {"layers": 0}}}, "model.shape.layers=0 must be at least"),
        ({"eval": {"max_new_tokens_of": {"biored_ner": 0}}}, "eval.max_new_tokens_of.biored_ner=0 must be at least"),
    ],
)
def test_a_value_that_a_key_does_not_take(values, line):
    with pytest.raises(UserError) as error:
        check_values(values)
    assert line in str(error.value)


def test_null_is_left_to_the_types():
    check_values({"model": {"shape": None, "api": None}, "mix": {"per_task": None}, "eval": {"limit": None}})


def test_a_digest_is_made_of_what_decides(composed):
    config = composed("experiment=demo", "name=a")
    assert {"replicas", "python", "max_usd"}.isdisjoint(what_decides(config, "engine"))
    assert {"name", "temperature", "batch_tokens"} <= set(what_decides(config, "engine"))
    assert "resamples" not in what_decides(config, "eval") and "limit" in what_decides(config, "eval")
    assert "num_processes" not in what_decides(config, "train")
    assert set(what_decides(config, "judge")) == {"provider", "model", "temperature", "max_tokens", "path"}
    assert what_decides(config, "log") == {}
