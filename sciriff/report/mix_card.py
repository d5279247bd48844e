"""What mix/card.json says went into the training mix, as the lines of a table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.data.mix_card import MixPart, read_mix_card


@dataclass(frozen=True)
class MixLine:
    """Rows of one dataset or of a group of them. Tokens are those of all rows together; a mean is per row."""

    name: str
    rows: int
    tokens: int
    prompt_mean: float
    target_mean: float


@dataclass(frozen=True)
class MixSummary:
    """The whole mix, its halves and its datasets, what was left out as (why, rows), and all else as (name, text)."""

    whole: MixLine
    halves: list[MixLine]
    datasets: list[MixLine]
    dropped: list[tuple[str, str]]
    held_out_rows: int
    overlap: str
    """What it shares with the evaluation prompts; empty in a card that does not say."""
    other: list[tuple[str, str]]


KNOWN = (
    "rows",
    "prompt_tokens",
    "target_tokens",
    "target_share",
    "by_source",
    "by_dataset",
    "dropped",
    "dropped_by_source",
    "dropped_by_dataset",
    "overlap",
    "validation_overlap",
)
"""Keys that have a place of their own, or are too long for a list (mix/card.md and card.json have them)."""


def read(path: Path) -> MixSummary | None:
    """What the card says, None where there is none. UserError for a file that is not one."""
    if not path.is_file():
        return None
    card = read_mix_card(path)
    return MixSummary(
        whole=_line("all", card),
        halves=[_line(name, part) for name, part in card["by_source"].items()],
        datasets=sorted(
            (_line(name, part) for name, part in card["by_dataset"].items()), key=lambda line: (-line.tokens, line.name)
        ),
        dropped=[(reason, f"{part['rows']:,}") for reason, part in card["dropped"].items()],
        held_out_rows=card["held_out_rows"],
        overlap=card["overlap"]["summary"] if "overlap" in card else "",
        other=[leaf for key, part in card.items() if key not in KNOWN for leaf in flat(part, key)],
    )


def _line(name: str, part: MixPart) -> MixLine:
    prompt, target = part["prompt_tokens"], part["target_tokens"]
    return MixLine(name, part["rows"], prompt["sum"] + target["sum"], prompt["mean"], target["mean"])


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted name, text); nulls are left out."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in flat(part, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        value = ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value) or "none"
    return [] if value is None else [(name, value if isinstance(value, str) else json.dumps(value))]
