"""What mix/card.json says went into the training mix, as the lines of a table."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.data.mix_card import MixPart, read_mix_card


@dataclass(frozen=True)
class MixLine:
    """A dataset or a group of datasets: rows, tokens of all rows together, means per row."""

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


SHOWN_ELSEWHERE = frozenset(
    "rows prompt_tokens target_tokens target_share by_source by_dataset dropped dropped_by_source dropped_by_dataset "
    "overlap validation_overlap".split()
)
"""Keys of the card that have a place of their own, or are too long for a list (mix/card.md and card.json have them)."""


def read(path: Path) -> MixSummary | None:
    """The card in lines; None if there is no card. UserError for a file that is not one."""
    if not path.is_file():
        return None
    card = read_mix_card(path)
    datasets = [_line(name, part) for name, part in card["by_dataset"].items()]
    return MixSummary(
        whole=_line("all", card),
        halves=[_line(name, part) for name, part in card["by_source"].items()],
        datasets=sorted(datasets, key=lambda line: (-line.tokens, line.name)),
        dropped=[(reason, f"{part['rows']:,}") for reason, part in card["dropped"].items()],
        held_out_rows=card["held_out_rows"],
        overlap=card["overlap"]["summary"] if "overlap" in card else "",
        other=listed({key: part for key, part in card.items() if key not in SHOWN_ELSEWHERE}),
    )


def _line(name: str, part: MixPart) -> MixLine:
    prompt, target = part["prompt_tokens"], part["target_tokens"]
    return MixLine(name, part["rows"], prompt["sum"] + target["sum"], prompt["mean"], target["mean"])


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
