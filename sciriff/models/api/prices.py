"""Prices of known models, from prices.tsv, which tools/refresh_prices.py takes from a known version of litellm."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BATCH_DISCOUNT = 0.5
"""A batch costs this share of the price of single calls (OpenAI's and Anthropic's price lists)."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    source: str = ""
    """The price table and its version; empty for a price from the config."""

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars for these numbers of tokens."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6

    def in_batch(self) -> "Price":
        """The price of the same tokens through the batch interface."""
        return Price(self.input * BATCH_DISCOUNT, self.output * BATCH_DISCOUNT, self.source)


@cache
def price_list(via: str | None = None) -> dict[str, Price]:
    """Prices by a model's exact name, at its provider or at a cloud."""
    with Path(__file__).with_name("prices.tsv").open(newline="") as file:
        source = file.readline().removeprefix("#").strip()
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        prices = [(row["model"], row["input"], row["output"]) for row in rows if row["via"] == (via or "")]
        return {model: Price(float(input), float(output), source) for model, input, output in prices}
