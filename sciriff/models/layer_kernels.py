"""Kernels for layers of hybrids that are missing, by the code of the installed transformers. Loads no framework."""

import importlib.util
import json
import re
from pathlib import Path

LAYER_KERNELS = {
    "flash-linear-attention": ("fla", r"""["']fla["']|is_flash_linear_attention_available"""),
    "causal-conv1d": ("causal_conv1d", r"""["']causal[_-]conv1d["']|is_causal_conv1d_available"""),
    "mamba-ssm": ("mamba_ssm", r"""["']mamba[_-]ssm["']|is_mamba(?:_2)?_ssm_available"""),
}
"""Packages on PyPI with kernels for linear attention, short convolutions and state spaces: the module of each, and how
a family's code names it (in transformers 5.24, and by functions of earlier ones). The first is a wheel; the others are
source packages, whose setup.py looks for a wheel among their releases on GitHub first (December 2026)."""


def missing_packages(model_type: str) -> list[str]:
    """Return the packages of LAYER_KERNELS that a family's code would use and that are not installed. Reads the code,
    without importing it."""
    code = _code_of(model_type)
    return [
        package
        for package, (module, named) in LAYER_KERNELS.items()
        if re.search(named, code) and importlib.util.find_spec(module) is None
    ]


def flash_attentions(model_type: str) -> set[str] | None:
    """Return the FlashAttentions that a family's code allows, where it allows some alone or none; None otherwise, and
    for an unknown family. Reads the code, without importing it."""
    code = _code_of(model_type)
    if lists := re.findall(r"_compatible_flash_implementations = \[([^]]*)\]", code):
        return set(re.findall(r"[\"']([^\"']+)[\"']", " ".join(lists)))
    answers = set(re.findall(r"_supports_flash_attn = (True|False)", code))
    return set() if answers == {"False"} else None


def _code_of(model_type: str) -> str:
    """Return the code of a family in the installed transformers; empty where there is none."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None or not re.fullmatch(r"[a-z0-9_]+", model_type):
        return ""
    for family in (model_type, model_type.removesuffix("_text")):  # the language model of one with towers
        file = Path(spec.origin).parent / "models" / family / f"modeling_{family}.py"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""


def model_type_of(folder: Path) -> str:
    """Return the family of a model folder as its config.json names it; empty if it does not."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    name = found.get("model_type") if isinstance(found, dict) else None
    return name.replace("-", "_") if isinstance(name, str) else ""


def layer_advice(model_type: str) -> str | None:
    """Return a line on missing kernels of a family's layers, and the command that installs them; None if none is."""
    if not (missing := missing_packages(model_type)):
        return None
    isolation = "" if missing == ["flash-linear-attention"] else "--no-build-isolation "
    build = " (from source where it has no wheel, with nvcc)" if isolation else ""
    return (
        f"{model_type} has layers for which {' and '.join(missing)} {'have' if len(missing) > 1 else 'has'} kernels; "
        f"without, plain torch computes them, which is slower: pip install {isolation}{' '.join(missing)}{build}"
    )
