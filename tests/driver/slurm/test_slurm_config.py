"""The keys of hydra/launcher=slurm: all are there, wrong ones get one line."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from sciriff.config import conf_dir
from sciriff.config.registration import composing
from sciriff.config.slurm import SLURM_KEYS, slurm_config

FILE = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra/launcher/slurm.yaml"))
GIVEN = {key: value for key, value in FILE.items() if key != "_target_"}


def test_the_file_has_the_keys_of_the_schema():
    assert set(GIVEN) == set(SLURM_KEYS)
    settings = slurm_config(GIVEN)
    assert (settings.time, settings.mem, settings.at_once, settings.gpus) == ("24:00:00", "0", None, None)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("nodes", "two", "hydra.launcher.nodes=two: Value 'two' of type 'str' could not be converted to Integer"),
        ("at_once", 0, "hydra.launcher.at_once=0 must be at least 1"),
        ("signal", None, "hydra.launcher.signal=None: "),
        ("time", "tomorrow", "hydra.launcher.time=tomorrow must be minutes, HH:MM:SS or D-HH:MM:SS"),
        ("exclusive", "both", "exclusive=both: Value 'both' is not a valid bool"),
        ("sbatch", "--qos=high", "sbatch=--qos=high: Invalid value assigned"),
        ("sbatch", ["qos=high"], "qos=high is no option of sbatch"),
        ("gpus_per_node", 0, "gpus_per_node=0 must be 1 or more"),
        ("tme", 3, "hydra.launcher.tme is not a key of the launcher; did you mean 'time'?"),
    ],
)
def test_what_cannot_be_is_refused(key: str, value: object, line: str):
    with pytest.raises(ValueError, match=r".") as refused:
        slurm_config({**GIVEN, key: value})
    assert line in str(refused.value)


def test_numbers_that_yaml_makes_of_texts():
    settings = slurm_config({**GIVEN, "time": 90, "mem": 64, "sbatch": ["-x"], "setup": [1]})
    assert (settings.time, settings.mem, settings.setup) == ("90", "64", ["1"])


@pytest.mark.parametrize(
    ("asked", "gpus", "gpu"),
    [(None, None, None), (4, 4, None), ("h100:8", 8, "h100"), ("h100", 1, "h100"), ("gtx:2", 2, None)],
)
def test_what_the_plan_learns_of_the_nodes(asked: object, gpus: int | None, gpu: str | None):
    settings = slurm_config({**GIVEN, "gpus_per_node": asked})
    assert (settings.gpus, settings.gpu) == (gpus, gpu)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("12:00:00", "12:00:00"),
        ("24:00", "24:00"),
        ("1-00:00:00", "1-00:00:00"),
        ('"02:00:00"', "02:00:00"),
        ("90", "90"),
    ],
)
def test_a_clock_in_a_file_is_a_text_with_quotes_and_without(written: str, time: str):
    """YAML 1.1 itself reads 12:00:00 as 43200."""
    with composing():
        read = OmegaConf.to_container(OmegaConf.create(f"time: {written}"))
    settings = slurm_config({**GIVEN, **read})
    assert settings.time == time
    text = OmegaConf.to_yaml({"time": settings.time})
    code = "import sys; from omegaconf import OmegaConf; print(OmegaConf.create(sys.argv[1]).time)"
    read_by_a_stage = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True)
    assert read_by_a_stage.stdout == f"{time}\n", "which has no such rule"


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"hydra\.launcher\.time is not set"):
        slurm_config({key: value for key, value in GIVEN.items() if key != "time"})
