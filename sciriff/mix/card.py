"""Say what a mix holds: rows and tokens by task and source, what was left out and why. `mix/card.json` and a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sciriff.mix.sources import SCIENCE, Tally


def token_card(datasets: Sequence[str], lengths: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Rows and tokens of the whole mix, of its science and general half, and of each dataset.

    `datasets`, `lengths` and `targets` (tokens, and those that are learnt) are of shape (rows,) in the same order.
    Tokens are given as sum, mean and maximum over rows.
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
    return {
        **part(np.ones(len(names), dtype=bool)),
        "by_source": {name: part(mask) for name, mask in halves.items() if mask.any()},
        "by_dataset": {name: part(names == name) for name in sorted(set(datasets))},
    }


def is_science(dataset: str) -> bool:
    return dataset.startswith(SCIENCE)


def dropped_card(tally: Tally) -> dict[str, Any]:
    """For each reason the number of rows that were left out, and the first few."""
    return {reason: {"rows": rows, "first": tally.first[reason]} for reason, rows in sorted(tally.dropped.items())}


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
    lines.append(f"{card['target_share']:.1%} of the tokens are learnt")
    lines += [f"left out: {part['rows']:,} {reason}" for reason, part in card["dropped"].items()]
    if card["held_out_rows"]:
        lines.append(f"{card['held_out_rows']:,} rows are of held-out tasks: scores on those are not of unseen tasks")
    return "\n".join(lines)


def _spread(values: np.ndarray) -> dict[str, Any]:
    return {"sum": int(values.sum()), "mean": float(values.mean()), "max": int(values.max())}
