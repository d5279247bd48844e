"""The licence of a model's weights, and how the Hugging Face hub is told of it."""

from pathlib import Path

from sciriff.config import ModelConfig
from sciriff.config.plain_yaml import plain_values

HUB_LICENSES = ("apache-2.0", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "mit", "odc-by")
"""Licences that the hub knows; any other is written as `other` with a `license_name`."""


def named_license(name: str) -> dict[str, str]:
    """Return the keys of a card's head that name a licence."""
    return {"license": name} if name in HUB_LICENSES else {"license": "other", "license_name": name}


def license_of(model: ModelConfig) -> str | None:
    """Return `model.license`, or the licence that the README.md of a local model folder names, or None."""
    if model.license is not None or model.path is None:
        return model.license
    readme = Path(model.path) / "README.md"
    if not readme.is_file():
        return None
    opening, _, rest = readme.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head, end, _ = rest.partition("\n---")
    if opening or not end:
        return None
    try:
        values = plain_values(head.encode("utf-8", "replace"))
    except ValueError:
        return None
    name = values.get("license_name") or values.get("license")
    return name if isinstance(name, str) else None
