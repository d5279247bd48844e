"""Fixtures that several test files share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sciriff.config import SAMPLE, Config, conf_dir, from_container

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def composed() -> Callable[..., Config]:
    """`composed("experiment=demo", "seed=3")` is the checked config of these overrides."""

    def compose_config(*overrides: str) -> Config:
        OmegaConf.register_new_resolver("sample", lambda name: str(SAMPLE / name), replace=True)
        ConfigStore.instance().store("schema", Config)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return from_container(compose("config", list(overrides)))

    return compose_config


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `python -m sciriff.train ARGUMENTS` in a folder of the test, with a cache of its own."""

    def run(*arguments: str, module: str = "sciriff.train", timeout: float = 600) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SCIRIFF_CACHE": str(tmp_path / "cache")}
        environment.pop("HYDRA_FULL_ERROR", None)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


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
