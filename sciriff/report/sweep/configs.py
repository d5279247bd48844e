"""What runs differ in: their configs as flat keys, and the lines that an ablation is drawn with."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CAP, SHARE, METHOD, SEED = "mix.per_task", "mix.tulu", "train.method", "seed"
FIRST = (SHARE, "model.path", "mix.name")
"""Keys that name a line before others do."""
ABSENT = "–"
"""Stands where one config has a key and another has not."""

Flat = Mapping[str, str]
"""Dotted key -> value as text."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested config as dotted keys. Words stand as they are, all else as JSON."""
    found: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return found


def varying(configs: Sequence[Flat]) -> list[str]:
    """The keys that are not the same in all, those that people name first at the front."""
    keys = sorted({key for config in configs for key in config})
    found = [key for key in keys if len({config.get(key, ABSENT) for config in configs}) > 1]
    return sorted(found, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key))


@dataclass(frozen=True)
class AblationLine:
    """Runs that differ in the cap of the mix alone: [(per_task, place of the run)], the caps from small to all."""

    label: str
    points: list[tuple[str, int]]


def caps_of(configs: Sequence[Flat]) -> list[str]:
    """The values of mix.per_task from the smallest to `all`."""
    return sorted({_cap(config) for config in configs if CAP in config}, key=_size)


def lines_of(configs: Mapping[int, Flat]) -> list[AblationLine]:
    """The lines of an ablation over mix.per_task, by the places of their runs: none where no two runs differ in it
    alone. Runs whose line would be a single point are points all the same where others make a line."""
    known = {place: config for place, config in configs.items() if CAP in config}
    keys = [key for key in varying(list(known.values())) if key not in (CAP, SEED)]
    members: dict[tuple[str, ...], list[int]] = {}
    for place, config in known.items():
        members.setdefault(tuple(config.get(key, ABSENT) for key in keys), []).append(place)
    if not any(len({_cap(known[place]) for place in places}) > 1 for places in members.values()):
        return []
    named = _naming(keys, list(members))
    lines = []
    for values, places in members.items():
        given = dict(zip(keys, values, strict=True))
        points = sorted(((_cap(known[place]), place) for place in places), key=lambda point: _size(point[0]))
        lines.append(AblationLine(", ".join(f"{key}={given[key]}" for key in named) or "runs", points))
    return lines


def _naming(keys: Sequence[str], lines: Sequence[tuple[str, ...]]) -> list[str]:
    """The first keys that are enough to tell the lines apart: the others follow from them."""
    named: list[str] = []
    parts: list[tuple[Hashable, ...]] = [()] * len(lines)
    for place, key in enumerate(keys):
        finer = [(*part, line[place]) for part, line in zip(parts, lines, strict=True)]
        if len(set(finer)) > len(set(parts)):
            named.append(key)
            parts = finer
    return named


def _cap(config: Flat) -> str:
    return "all" if config[CAP] == "null" else config[CAP]


def _size(cap: str) -> tuple[bool, int, str]:
    return (not cap.isdecimal(), int(cap) if cap.isdecimal() else 0, cap)
