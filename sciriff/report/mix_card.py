"""What mix/card.json says went into the training mix, as the report shows it, and nested values as flat lists."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.data.mix_card import MixCard, MixPart, read_mix_card

SHOWN_ELSEWHERE = frozenset(
    "rows prompt_tokens target_tokens target_share by_source by_dataset dropped dropped_by_source dropped_by_dataset "
    "overlap validation_overlap near_duplicates sources".split()
)
"""Keys of the card that have a place of their own, or are too long for a list (mix/card.md and card.json have them)."""


def read(path: Path) -> MixCard | None:
    """The card; None if there is none. UserError for a file that is not one."""
    return read_mix_card(path) if path.is_file() else None


def tokens(part: MixPart) -> int:
    """Tokens of all rows together."""
    return part["prompt_tokens"]["sum"] + part["target_tokens"]["sum"]


def datasets(card: MixCard) -> list[tuple[str, MixPart]]:
    """The datasets by name, the largest first."""
    return sorted(card["by_dataset"].items(), key=lambda dataset: (-tokens(dataset[1]), dataset[0]))


def others(card: MixCard) -> list[tuple[str, str]]:
    """The rest of the card as a list."""
    return listed({key: part for key, part in card.items() if key not in SHOWN_ELSEWHERE})


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in nested dicts that is not a filled dict itself."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def as_text(value: Any) -> str:
    """Text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def listed(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested values as (dotted name, text), without nulls and empty dicts."""
    return [
        (name, (", ".join(map(as_text, value)) or "none") if isinstance(value, list) else as_text(value))
        for name, value in leaves(values)
        if value is not None and value != {}
    ]
