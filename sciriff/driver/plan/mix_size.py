"""Rows and tokens of an epoch: of the finished mix, or from the known sizes of the hub's datasets."""

from pathlib import Path

from sciriff.config import Config, MixConfig
from sciriff.data.mix_card import read_mix_card
from sciriff.run.run_dir import RunDir
from sciriff.tasks.catalogue import CatalogueEntry, catalogue
from sciriff.tasks.own import names_of

TULU_ROWS = 275_000
"""General rows of allenai/tulu-v2-sft-mixture without its science rows (SciRIFF's paper, appendix)."""
TULU_ROW_TOKENS = 922
"""Mean tokens of a general row: the 79M tokens of a published epoch, less those of its 35,357 science rows."""


def mix_size(config: Config) -> tuple[int | None, int | None]:
    """Return rows and tokens of one epoch; (None, None) if a source must be read first."""
    card = RunDir(Path(config.run_dir)).mix_card
    if card.is_file():
        finished = read_mix_card(card)
        return finished["rows"], finished["prompt_tokens"]["sum"] + finished["target_tokens"]["sum"]
    mix = config.mix
    counted = [mix.source(name) for name in ("sciriff", "tulu")]
    if mix.path or mix.sources["published"].path or mix.own_sources or mix.by_shares or any(s.rows for s in counted):
        return None, None
    if mix.sources["published"].exists:
        return 70_714, 79_000_000
    science = _science_size(config)
    general = _general_rows(config, science[0] if science else None)
    if science is None or general is None:
        return None, None
    epochs = mix.sources["sciriff"].epochs
    general = round(general * mix.sources["tulu"].epochs)
    return round(science[0] * epochs) + general, int(science[1] * epochs + general * TULU_ROW_TOKENS)


def _science_size(config: Config) -> tuple[int, float] | None:
    """Rows and tokens that the recipe selects, each row counted once; None for rows other than SciRIFF's own."""
    source, cap = config.mix.sources["sciriff"], config.mix.per_task
    if not source.exists or cap == 0:
        return 0, 0.0
    if source.path is not None or source.hub != "allenai/SciRIFF":
        return None
    held_out = names_of(config.eval.held_out)
    rows, tokens = 0, 0.0
    for entry in catalogue().values():
        if _enters(config.mix, entry) and (config.mix.include_heldout or entry.name not in held_out):
            taken = entry.train if cap is None else min(cap, entry.train)
            rows += taken
            tokens += taken * (entry.mean_input_tokens + entry.mean_output_tokens)
    return rows, tokens


def _enters(mix: MixConfig, entry: CatalogueEntry) -> bool:
    filters = ((mix.tasks, (entry.name,)), (mix.families, (entry.family,)), (mix.domains, entry.domains))
    return all(wanted is None or set(wanted) & set(has) for wanted, has in filters)


def _general_rows(config: Config, science: int | None) -> int | None:
    tulu, source = config.mix.tulu, config.mix.source("tulu")
    if tulu == "none" or not source.exists:
        return 0
    if source.path is not None:
        return None
    if tulu == "all":
        return TULU_ROWS
    if tulu == "match":
        if science is None:
            return None
        tulu = round(science * source.share / config.mix.source("sciriff").share)
    return min(int(tulu), TULU_ROWS)
