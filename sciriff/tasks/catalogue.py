"""The 54 tasks of SciRIFF (configuration 4096): family, rows and mean lengths, so that planning needs no download.

Counted on allenai/SciRIFF from the Hugging Face hub with the Llama-2 tokenizer.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class CatalogueEntry:
    """One task of SciRIFF: rows per split, mean tokens per input and output."""

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
    """All tasks by name, in alphabetical order."""
    with Path(__file__).with_name("catalogue.tsv").open(newline="") as file:
        return {
            row["name"]: msgspec.convert(row | {"domains": row["domains"].split(",")}, CatalogueEntry, strict=False)
            for row in csv.DictReader(file, delimiter="\t")
        }


def names() -> dict[str, set[str]]:
    """Names of SciRIFF's tasks, families and domains, under the keys `tasks`, `families` and `domains`."""
    entries = catalogue().values()
    domains = {domain for entry in entries for domain in entry.domains}
    return {"tasks": set(catalogue()), "families": {entry.family for entry in entries}, "domains": domains}
