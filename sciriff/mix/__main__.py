"""The mix stage: find or build the mix and its tokens in the cache, and put them into the run folder."""

import gc
import shutil
from pathlib import Path

from sciriff.config import Config
from sciriff.mix import card_table
from sciriff.mix.build import TRAIN, VALIDATION
from sciriff.mix.cached_mix import CachedMix
from sciriff.mix.card_page import page
from sciriff.mix.comparisons import write_card
from sciriff.mix.sources import check_sources
from sciriff.mix.thought_checks import check_budget, check_prompts
from sciriff.mix.tokenise import Tokeniser, markup_digest
from sciriff.mix.used_sources import used_sources
from sciriff.models.chat_markup import unseen_day
from sciriff.models.loading import load_tokenizer
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.whole_file import write_whole
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Build the mix or find it in the cache, and copy it to the run folder (tokens as a link)."""
    check_sources(used_sources(config.mix))
    cache = Path(config.cache_dir).expanduser().resolve()
    tokenizer, chat, settings = load_tokenizer(config.model), config.model.chat, config.model.chat_settings
    check_budget(config, tokenizer)
    if unseen := unseen_day(config.model, tokenizer):
        show(unseen)
    cache.mkdir(parents=True, exist_ok=True)
    tokeniser = Tokeniser(chat, tokenizer, cache, settings, config.mix.on_bad_row)
    gc.freeze()  # else each full collection walks through what libraries have loaded, 0.1 s

    mix = CachedMix(config, cache, tokeniser, markup_digest(chat, tokenizer, settings))
    card = mix.card()
    if {"train", "predict"} <= set(config.active_stages):
        check_prompts(card, tokenizer, settings)
    mix.compare(card)

    run.mix.parent.mkdir(parents=True, exist_ok=True)
    for digest, cached, rows, tokens in (
        (card["digest"], mix.folder / TRAIN, run.mix, run.tokens),
        (card["validation"]["digest"], mix.folder / VALIDATION, run.validation, run.validation_tokens),
    ):
        if digest is None:
            rows.unlink(missing_ok=True)
            tokens.unlink(missing_ok=True)
        else:
            _copy(cached, rows)
            _link(mix.tokens_of(rows, digest), tokens)
    write_card(run.mix_card, card)
    write_whole(run.mix_card_page, page(card, config.mix))
    show(*card_table.lines(card))


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(target.name + ".partial")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def _link(folder: Path, link: Path) -> None:
    """Make `link` point to `folder`, whatever it was before."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    unfinished = link.with_name(link.name + ".partial")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(folder, target_is_directory=True)
    unfinished.replace(link)


if __name__ == "__main__":
    run_stage(main)
