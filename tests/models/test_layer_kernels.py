"""Kernels that hybrids lack, by the installed transformers."""

import json
from pathlib import Path

import pytest
import transformers

from sciriff.models import layer_kernels
from sciriff.models.layer_kernels import layer_advice, missing_packages, model_type_of

ALL = ["flash-linear-attention", "causal-conv1d", "mamba-ssm"]
DELTA, STATES = ALL[:2], ALL[1:]


@pytest.fixture(autouse=True)
def without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the packages is installed, whatever this environment has."""
    known = {package: ("no_such_module", named) for package, (_, named) in layer_kernels.LAYER_KERNELS.items()}
    monkeypatch.setattr(layer_kernels, "LAYER_KERNELS", known)


@pytest.mark.parametrize(
    ("model_type", "packages"),
    [
        ("llama", []),
        ("qwen3_moe", []),
        ("qwen3_next", DELTA),
        ("qwen3_5", DELTA),
        ("qwen3_5_text", DELTA),
        ("nemotron_h", STATES),
        ("falcon_h1", STATES),
        ("mamba2", STATES),
        ("lfm2", ["causal-conv1d"]),
        ("no_such_family", []),
        ("../../etc", []),
    ],
)
def test_packages_that_a_family_would_use(model_type: str, packages: list[str]) -> None:
    folder = Path(transformers.__file__).parent / "models" / model_type.removesuffix("_text")
    if packages and not folder.is_dir():
        pytest.skip(f"this transformers has no {model_type}")
    assert missing_packages(model_type) == packages
    advice = layer_advice(model_type)
    assert (advice is None) == (not packages)
    if advice is not None:
        assert advice.count("pip install") == 1 and "\n" not in advice
        assert all(package in advice.partition("pip install")[2] for package in packages)


def test_an_installed_package_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_kernels, "LAYER_KERNELS", {"causal-conv1d": ("json", "causal_conv1d")})
    assert missing_packages("mamba2") == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"model_type": 3}', '{"a": 1}', "[" * 100_000, '{"model_type": "../x"}', None]
)
def test_a_config_that_names_no_family(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert missing_packages(model_type_of(tmp_path)) == []


def test_a_config_names_its_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt-x"}))
    assert model_type_of(tmp_path) == "gpt_x"
