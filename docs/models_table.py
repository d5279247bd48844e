"""Print the README's table of conf/model: `python docs/models_table.py`; a test compares it with what is there."""

from pathlib import Path
from typing import Any

import yaml

MODELS = Path(__file__).resolve().parents[1] / "conf" / "model"
HEAD = ("`model=`", "weights", "parameters", "context", "licence", "")


def table() -> list[str]:
    """Return the lines of the table: models with weights on the hub, in the order of their names."""
    rows = [HEAD, *(row(file) for file in sorted(MODELS.glob("*.yaml")) if has_weights(values(file)))]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return [lines[0], "|" + "---|" * len(HEAD), *lines[1:]]


def values(file: Path) -> dict[str, Any]:
    # `???` and interpolations are text like any other here
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def has_weights(model: dict[str, Any]) -> bool:
    path = model.get("path")
    return path not in (None, "???") and not path.startswith("${")


def row(file: Path) -> tuple[str, ...]:
    from sciriff.config import ShapeConfig

    model = values(file)
    shape = ShapeConfig(**model["shape"])
    return (
        f"`{file.stem}`",
        f"[{model['path']}](https://huggingface.co/{model['path']})",
        size(shape.parameters) + (f", {size(shape.active)} active" if has_experts(shape) else ""),
        f"{shape.context:,}",
        model.get("license", ""),
        remarks(file),
    )


def has_experts(shape: Any) -> bool:
    return shape.active is not None and shape.active < shape.parameters - (shape.frozen or 0)


def size(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B"


def remarks(file: Path) -> str:
    """Return the comment that a file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))


if __name__ == "__main__":
    print(*table(), sep="\n")
