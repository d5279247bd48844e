"""Count what a mix holds: rows and tokens by task and source, what was left out and why: `mix/card.json`."""

from collections.abc import Mapping, Sequence

import numpy as np

from sciriff.config import SourceConfig
from sciriff.data.mix_card import FoundRows, MixPart, TallyCard, TokenCard, TokenCounts, ValidationCard
from sciriff.mix.sources import SCIENCE
from sciriff.mix.tally import Found, MixTally
from sciriff.mix.validation import Drawn

LONGEST = 5
"""Rows that are named for their length."""

LICENSES = {
    "allenai/SciRIFF": "ODC-BY",
    "allenai/SciRIFF-train-mix": "ODC-BY",
    "allenai/tulu-v2-sft-mixture": "ODC-BY",
}
"""Of datasets on the hub, as their pages say; parts of the Tulu-V2 mixture have further terms of their own."""


def token_card(ids: Sequence[str], datasets: Sequence[str], lengths: np.ndarray, targets: np.ndarray) -> TokenCard:
    """Rows and tokens of all rows, of their science and general half, and of each dataset; and the longest rows.

    `ids`, `datasets`, `lengths` and `targets` (tokens, and those that are learnt) are of shape (rows,) in the same
    order. Tokens are given as sum, mean, median and maximum over rows.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(datasets):
        places.setdefault(name, []).append(place)

    def part(rows: Sequence[int]) -> MixPart:
        prompt, target = (lengths - targets)[rows].astype(np.int64), targets[rows].astype(np.int64)
        return {
            "rows": len(rows),
            "prompt_tokens": _spread(prompt),
            "target_tokens": _spread(target),
            "target_share": float(target.sum() / (prompt.sum() + target.sum())),
        }

    halves: dict[str, list[int]] = {"science": [], "general": []}
    for name, rows in places.items():
        halves["science" if is_science(name) else "general"] += rows
    by_length = sorted(set(zip(ids, lengths.tolist(), strict=True)), key=lambda row: (-row[1], row[0]))
    return {
        **part(range(len(datasets))),
        "by_source": {name: part(rows) for name, rows in halves.items() if rows},
        "by_dataset": {name: part(rows) for name, rows in sorted(places.items())},
        "longest": [{"row": row, "tokens": tokens} for row, tokens in by_length[:LONGEST]],
    }


def is_science(dataset: str) -> bool:
    return dataset.startswith(SCIENCE)


def tally_card(tally: MixTally) -> TallyCard:
    """What was read, left out by reason with the first few rows of each, and where, and what stands there twice."""
    return {
        "read": tally.read,
        "commits": tally.commits,
        "general_missing": tally.general_missing,
        "repeated": tally.repeated,
        "same_text": tally.same_text,
        "shortened": tally.shortened,
        "read_with_control_characters": _found(tally.control_characters),
        "dropped": {reason: _found(found) for reason, found in sorted(tally.dropped.items())},
        "dropped_by_source": _sorted(tally.dropped_of_source),
        "dropped_by_dataset": _sorted(tally.dropped_of_dataset),
    }


def validation_card(
    drawn: Mapping[str, Drawn], wanted: int, digest: str | None, *, compared: bool = True
) -> ValidationCard:
    """How many rows of each half watch the training, of how many that were asked for, and where they come from;
    `compared` if those with text of the evaluation prompts were left out."""
    return {
        "wanted": wanted,
        "digest": digest,
        "compared": compared,
        "by_source": {
            half: {
                "rows": len(part.rows),
                "from": part.origin,
                "left_out": dict(sorted(part.left_out.items())),
                "out_of_reach": part.out_of_reach,
            }
            for half, part in sorted(drawn.items(), reverse=True)
        },
    }


def licenses(used: Mapping[str, SourceConfig]) -> dict[str, str]:
    """The licence of each source: what the config says, what is known of the hub's dataset, or `unknown`."""
    known = {name: LICENSES.get(source.hub or "") if source.path is None else None for name, source in used.items()}
    return {name: getattr(source, "license", None) or known[name] or "unknown" for name, source in used.items()}


def _found(found: Found) -> FoundRows:
    return {"rows": found.rows, "first": found.first}


def _sorted(groups: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {group: dict(sorted(reasons.items())) for group, reasons in sorted(groups.items())}


def _spread(values: np.ndarray) -> TokenCounts:
    return {
        "sum": int(values.sum()),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }
