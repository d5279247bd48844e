"""Fixtures that several test files share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sciriff.config import Config, conf_dir, from_container
from sciriff.config.registration import register

# Before any test loads torch: tiny models are computed four times as fast on one thread as on two that others share.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def environment_of_before() -> Iterator[None]:
    """Take back what a test's call of a `main` set for its children: the next test in this process has others."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def composed() -> Callable[..., Config]:
    """`composed("experiment=demo", "seed=3")` is the checked config of these overrides."""

    def compose_config(*overrides: str) -> Config:
        register()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return from_container(compose("config", list(overrides)))

    return compose_config


def run_in(
    place: Path, *arguments: str, module: str = "sciriff.train", timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run `python -m sciriff.train ARGUMENTS` in a folder, with a cache of its own."""
    environment = {**os.environ, "SCIRIFF_CACHE": str(place / "cache")}
    environment.pop("HYDRA_FULL_ERROR", None)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`run_in` the folder of the test."""
    return partial(run_in, tmp_path)


@pytest.fixture(scope="session")
def cli_in() -> Cli:
    """`run_in` for what several tests share."""
    return run_in


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("12m")` is a file system of that size; called again, the same one resized."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: str) -> Path:
        change = "remount," if os.path.ismount(place) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{change}size={size}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("may not mount a tmpfs here")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)
