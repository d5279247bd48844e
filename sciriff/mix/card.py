"""Count rows and tokens by task and source, and the validation rows, for `mix/card.json`."""

from collections.abc import Mapping, Sequence

import numpy as np

from sciriff.config import SourceConfig
from sciriff.data.mix_card import MixPart, SourceCard, TokenCard, TokenCounts, ValidationCard
from sciriff.mix.sources import SCIENCE
from sciriff.mix.tally import MixTally
from sciriff.mix.validation import Drawn

LONGEST = 5
"""Rows that the card names for their length."""

LICENSES = {
    "allenai/SciRIFF": "ODC-BY",
    "allenai/SciRIFF-train-mix": "ODC-BY",
    "allenai/tulu-v2-sft-mixture": "ODC-BY",
    "allenai/tulu-3-sft-mixture": "ODC-BY",
    "allenai/Dolci-Instruct-SFT": "ODC-BY",
}
"""Licences on the pages of hub datasets; parts of the mixtures have further terms of their own."""


def token_card(ids: Sequence[str], datasets: Sequence[str], lengths: np.ndarray, targets: np.ndarray) -> TokenCard:
    """Count rows and tokens in all, by half and by dataset, and name the longest rows.

    `ids`, `datasets`, `lengths` (tokens) and `targets` (learnt tokens) are of shape (rows,), in the same order.
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
        halves["science" if name.startswith(f"{SCIENCE}.") else "general"] += rows
    by_length = sorted(set(zip(ids, lengths.tolist(), strict=True)), key=lambda row: (-row[1], row[0]))
    return {
        **part(range(len(datasets))),
        "by_source": {name: part(rows) for name, rows in halves.items() if rows},
        "by_dataset": {name: part(rows) for name, rows in sorted(places.items())},
        "longest": [{"row": row, "tokens": tokens} for row, tokens in by_length[:LONGEST]],
    }


def source_cards(tally: MixTally, lengths: np.ndarray) -> dict[str, SourceCard]:
    """Say for each source what was asked of it, and the rows and tokens that the mix has. `lengths` (tokens) are of the
    rows of the mix, in their order."""
    cards: dict[str, SourceCard] = {}
    for name, asked in tally.asked.items():
        of_source = lengths[[origin == name for origin in tally.origins]]
        card: SourceCard = {
            "kind": asked.kind,
            "asked": asked.rule,
            "rows": len(of_source),
            "tokens": int(of_source.sum()),
        }
        if asked.rows is not None:
            card["asked_rows"] = asked.rows
        if asked.tokens is not None:
            card["asked_tokens"] = asked.tokens
        if asked.short:
            card["short"] = "; ".join(asked.short)
        cards[name] = card
    return cards


def validation_card(
    drawn: Mapping[str, Drawn], wanted: int, digest: str | None, *, compared: bool = True
) -> ValidationCard:
    """Count the validation rows of each half by origin. `compared`: those with text of the prompts were left out."""
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
    """Source -> licence: the config's, that of the hub's page, or `unknown`."""
    known = {name: LICENSES.get(source.hub or "") if source.path is None else None for name, source in used.items()}
    return {name: getattr(source, "license", None) or known[name] or "unknown" for name, source in used.items()}


def _spread(values: np.ndarray) -> TokenCounts:
    return {
        "sum": int(values.sum()),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }
