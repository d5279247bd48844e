"""What runs differ in: their configs as flat keys, and the lines that an ablation is drawn with."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.report.mix_card import as_text, leaves
from sciriff.results.finished_runs import read_config
from sciriff.run.run_dir import RunDir

CAP, METHOD, SEED = "mix.per_task", "train.method", "seed"
FIRST = ("mix.tulu", "model.path", "mix.name")
"""Keys that name a line before others do."""
ABSENT = "–"
"""Stands where one config has a key and another has not."""

Flat = Mapping[str, str]
"""Dotted key -> value as text."""


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """A nested config as dotted keys. Words stand as they are, all else as JSON."""
    return {name: as_text(value) for name, value in leaves(config) if name}


def flat_config(folder: Path) -> dict[str, str]:
    """The config of a run, flat; empty for a folder that has none."""
    path = RunDir(folder).config
    return flat(read_config(path)) if path.is_file() else {}


def varying(configs: Sequence[Flat]) -> list[str]:
    """The keys that are not the same in all, those that people name first at the front."""
    keys = {key for config in configs for key in config}
    found = [key for key in keys if len({config.get(key, ABSENT) for config in configs}) > 1]
    return sorted(found, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key))


@dataclass(frozen=True)
class AblationLine:
    """Runs that differ in the cap of the mix alone: [(per_task, place of the run)], the caps from small to all."""

    label: str
    points: list[tuple[str, int]]


def caps_of(lines: Sequence[AblationLine]) -> list[str]:
    """The values of mix.per_task on these lines, from the smallest to `all`."""
    return sorted({cap for line in lines for cap, _ in line.points}, key=_size)


def lines_of(configs: Mapping[int, Flat]) -> list[AblationLine]:
    """The lines of an ablation over mix.per_task, by the places of their runs; empty where no two runs differ in it
    alone. A run that shares its line with no other is a line of one point, if others make longer ones."""
    known = {place: config for place, config in configs.items() if CAP in config}
    keys = [key for key in varying(list(known.values())) if key not in (CAP, SEED)]
    members: defaultdict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for place, config in known.items():
        cap = "all" if config[CAP] == "null" else config[CAP]
        members[tuple(config.get(key, ABSENT) for key in keys)].append((cap, place))
    if all(len({cap for cap, _ in points}) == 1 for points in members.values()):
        return []
    named = _naming(list(members))
    return [
        AblationLine(
            ", ".join(f"{keys[place]}={values[place]}" for place in named) or "runs",
            sorted(points, key=lambda point: _size(point[0])),
        )
        for values, points in members.items()
    ]


def _naming(lines: Sequence[tuple[str, ...]]) -> list[int]:
    """Places of the first values that are enough to tell the lines apart: the others follow from them."""

    def told_apart(places: Sequence[int]) -> int:
        return len({tuple(line[place] for place in places) for line in lines})

    named: list[int] = []
    for place in range(len(lines[0])):
        if told_apart([*named, place]) > told_apart(named):
            named.append(place)
    return named


def _size(cap: str) -> tuple[bool, int, str]:
    return (not cap.isdecimal(), int(cap) if cap.isdecimal() else 0, cap)
