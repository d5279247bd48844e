"""Say what a mix holds: rows and tokens by task and source, what was left out and why. `mix/card.json` and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sciriff.config import SourceConfig
from sciriff.mix.sources import SCIENCE
from sciriff.mix.tally import Found, Tally
from sciriff.mix.validation import Drawn

LONGEST = 5
"""Rows that are named for their length."""

LICENSES = {
    "allenai/SciRIFF": "ODC-BY",
    "allenai/SciRIFF-train-mix": "ODC-BY",
    "allenai/tulu-v2-sft-mixture": "ODC-BY",
}
"""Of datasets on the hub, as their pages say; parts of the Tulu-V2 mixture have further terms of their own."""


def token_card(ids: Sequence[str], datasets: Sequence[str], lengths: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Rows and tokens of all rows, of their science and general half, and of each dataset; and the longest rows.

    `ids`, `datasets`, `lengths` and `targets` (tokens, and those that are learnt) are of shape (rows,) in the same
    order. Tokens are given as sum, mean, median and maximum over rows.
    """
    names = np.array(datasets, dtype=object)
    science = np.array([is_science(name) for name in datasets], dtype=bool)

    def part(mask: np.ndarray) -> dict[str, Any]:
        prompt, target = (lengths - targets)[mask].astype(np.int64), targets[mask].astype(np.int64)
        return {
            "rows": int(mask.sum()),
            "prompt_tokens": _spread(prompt),
            "target_tokens": _spread(target),
            "target_share": float(target.sum() / (prompt.sum() + target.sum())),
        }

    halves = {"science": science, "general": ~science}
    by_length = sorted(set(zip(ids, lengths.tolist(), strict=True)), key=lambda row: (-row[1], row[0]))
    return {
        **part(np.ones(len(names), dtype=bool)),
        "by_source": {name: part(mask) for name, mask in halves.items() if mask.any()},
        "by_dataset": {name: part(names == name) for name in sorted(set(datasets))},
        "longest": [{"row": row, "tokens": tokens} for row, tokens in by_length[:LONGEST]],
    }


def is_science(dataset: str) -> bool:
    return dataset.startswith(SCIENCE)


def tally_card(tally: Tally) -> dict[str, Any]:
    """What was read, left out by reason with the first few rows of each, and where, and what stands there twice."""
    return {
        "read": tally.read,
        "repeated": tally.repeated,
        "read_with_control_characters": _found(tally.control_characters),
        "dropped": {reason: _found(found) for reason, found in sorted(tally.dropped.items())},
        "dropped_by_source": _sorted(tally.dropped_of_source),
        "dropped_by_dataset": _sorted(tally.dropped_of_dataset),
    }


def validation_card(drawn: Mapping[str, Drawn], wanted: int, digest: str | None) -> dict[str, Any]:
    """How many rows of each half watch the training, of how many that were asked for, and where they come from."""
    return {
        "wanted": wanted,
        "digest": digest,
        "by_source": {
            half: {"rows": len(part.rows), "from": part.origin, "left_out": dict(sorted(part.left_out.items()))}
            for half, part in drawn.items()
        },
    }


def licenses(used: Mapping[str, SourceConfig]) -> dict[str, str]:
    """The licence of each source: what the config says, what is known of the hub's dataset, or `unknown`."""
    known = {name: LICENSES.get(source.hub or "") if source.path is None else None for name, source in used.items()}
    return {name: getattr(source, "license", None) or known[name] or "unknown" for name, source in used.items()}


def table(card: dict[str, Any]) -> str:
    """The card for people: a line per dataset and the sums, then what was left out."""
    lines = [f"{'rows':>8} {'prompt mean':>12} {'max':>7} {'target mean':>12} {'max':>7} {'tokens':>12}  dataset"]
    groups = [card["by_dataset"], card["by_source"], {"all": card}]
    for group in groups:
        for name, part in group.items():
            prompt, target = part["prompt_tokens"], part["target_tokens"]
            lines.append(
                f"{part['rows']:>8,} {prompt['mean']:>12,.1f} {prompt['max']:>7,} {target['mean']:>12,.1f} "
                f"{target['max']:>7,} {prompt['sum'] + target['sum']:>12,}  {name}"
            )
    return "\n".join([*lines, *remarks(card)])


def remarks(card: dict[str, Any]) -> list[str]:
    """What a person should know of a mix beside its table, a line each."""
    lines = [f"{card['target_share']:.1%} of the tokens are learnt"]
    lines += [f"left out: {part['rows']:,} {reason}" for reason, part in card["dropped"].items()]
    lines += [f"repeated: {rows:,} rows of {name} (epochs)" for name, rows in card["repeated"].items()]
    if card["held_out_rows"]:
        lines.append(f"{card['held_out_rows']:,} rows are of held-out tasks: scores on those are not of unseen tasks")
    return lines + _validation_remarks(card)


def _validation_remarks(card: dict[str, Any]) -> list[str]:
    validation = card["validation"]
    wanted = validation["wanted"]
    if not wanted:
        return []
    if not validation["by_source"]:
        return ["validation: no rows, since a finished mix is taken whole and leaves none"]
    lines = []
    for half, part in validation["by_source"].items():
        origin = ", ".join(f"{rows:,} {place}" for place, rows in part["from"].items())
        few = "" if part["rows"] == wanted else f" of the {wanted:,} asked for: no more are left"
        lines.append(f"validation: {part['rows']:,} {half} rows{few}{f' ({origin})' if origin else ''}")
    return lines


def _found(found: Found) -> dict[str, Any]:
    return {"rows": found.rows, "first": found.first}


def _sorted(groups: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {group: dict(sorted(reasons.items())) for group, reasons in sorted(groups.items())}


def _spread(values: np.ndarray) -> dict[str, Any]:
    return {
        "sum": int(values.sum()),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }
