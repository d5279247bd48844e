"""The 54 tasks of SciRIFF (configuration 4096): family, rows and mean lengths, so that a plan needs no download.

Counted from allenai/SciRIFF on the hub; tokens are those of the Llama-2 tokenizer.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class CatalogueEntry:
    """One task of SciRIFF: rows per split, mean tokens of an input and an output."""

    name: str
    family: str
    domains: tuple[str, ...]
    train: int
    validation: int
    test: int
    mean_input_tokens: float
    mean_output_tokens: float


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """Every task by its name, in alphabetical order."""
    with Path(__file__).with_name("catalogue.tsv").open(newline="") as file:
        return {
            row["name"]: CatalogueEntry(
                name=row["name"],
                family=row["family"],
                domains=tuple(row["domains"].split(",")),
                train=int(row["train"]),
                validation=int(row["validation"]),
                test=int(row["test"]),
                mean_input_tokens=float(row["mean_input_tokens"]),
                mean_output_tokens=float(row["mean_output_tokens"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
        }


def names() -> dict[str, set[str]]:
    """What the tasks, families and domains of SciRIFF are called, by these three words."""
    entries = catalogue().values()
    return {
        "tasks": {entry.name for entry in entries},
        "families": {entry.family for entry in entries},
        "domains": {domain for entry in entries for domain in entry.domains},
    }
