"""What runs differ in: their configs as flat keys, and the lines that an ablation is drawn with."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.report.mix_card import as_text, leaves
from sciriff.results.finished_runs import read_config
from sciriff.run.run_dir import RunDir

CAP, METHOD, SEED = "mix.per_task", "train.method", "seed"
MERGE, PARENTS, WEIGHTS = "merge.method", "merge.models", "merge.weights"
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


def is_untrained(config: Flat) -> bool:
    """Whether a run answers with a model as it was: neither trained nor merged."""
    return config.get(METHOD) == "none" and config.get(MERGE, "none") == "none"


@dataclass(frozen=True)
class AblationLine:
    """Runs that differ in the cap of the mix alone: [(per_task, place of the run)], the caps from small to all. Or, of
    merges, in the share of the first model: [(share, place of the run)]."""

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


def merge_lines(configs: Mapping[int, Flat]) -> list[AblationLine]:
    """The lines of merges over the share of the first model; empty where no two runs differ in it alone. Runs of more
    models are on one line where the others' shares have the same ratios, or where they have none."""
    known = {place: shares for place, config in configs.items() if (shares := _shares(config))}
    flats = [configs[place] for place in known]
    keys = [key for key in varying(flats) if key not in (WEIGHTS, SEED, "model.path")]
    members: defaultdict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    others = {place: _ratios(shares) for place, shares in known.items()}
    ratios = sorted({text for text in others.values() if text})
    for place, shares in known.items():
        values = tuple(configs[place].get(key, ABSENT) for key in keys)
        for ratio in (
            [others[place]] if others[place] or not ratios else ratios
        ):  # the first model alone is on all lines
            members[(*values, ratio)].append((f"{shares[0]:g}", place))
    if all(len({share for share, _ in points}) == 1 for points in members.values()):
        return []
    named = _naming(list(members))
    names = [*keys, "shares of the others"]
    return [
        AblationLine(
            ", ".join(f"{names[place]}={values[place]}" for place in named) or "merges",
            sorted(points, key=lambda point: float(point[0])),
        )
        for values, points in members.items()
    ]


def _shares(config: Flat) -> list[float]:
    """The shares of a merge's models; empty for other runs, and for weights that are none."""
    try:
        models, weights = (json.loads(config.get(key, "null")) for key in (PARENTS, WEIGHTS))
        numbers = [float(weight) for weight in weights] if weights else [1.0] * len(models)
        found = [number / sum(numbers) for number in numbers]
    except (ValueError, TypeError, ZeroDivisionError, RecursionError, OverflowError):
        return []
    fit = len(found) == len(models) and all(0 <= share <= 1 for share in found)
    return found if fit and config.get(MERGE, "none") != "none" else []


def _ratios(shares: Sequence[float]) -> str:
    """`1:2` of the models after the first; empty where they have no share."""
    rest = [share for share in shares[1:] if share]
    return ":".join(f"{share / min(rest):.4g}" for share in shares[1:]) if rest else ""


def first_parents(configs: Iterable[Flat]) -> list[str]:
    """The names of the first models of merges, the last parts of their paths, each once."""
    names: dict[str, None] = {}
    for config in configs:
        try:
            first = str(json.loads(config.get(PARENTS, "null"))[0])
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
        path = Path(first)
        names[path.parent.name if path.name == "model" else path.name] = None
    return list(names)


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
