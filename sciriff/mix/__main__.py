"""The mix stage: find or build the mix and its tokens in the cache, and put them into the run folder."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sciriff.config import ChatSettings, Config, EvalConfig, MixSourceConfig, SourceConfig
from sciriff.data.mix_card import (
    OWN_HELD_OUT,
    MixCard,
    NearCard,
    OverlapCard,
    read_mix_card,
    read_near_duplicates,
    read_overlap,
)
from sciriff.data.records import Conversation
from sciriff.data.source_files import HUB_KEYS, source_digest, source_files, validation_split
from sciriff.data.token_file import TokenFile
from sciriff.mix import card_table
from sciriff.mix.build import TRAIN, VALIDATION, build_mix, is_finished
from sciriff.mix.cache import build_once
from sciriff.mix.candidates import datasets_of
from sciriff.mix.card import licenses, source_cards, token_card, validation_card
from sciriff.mix.card_page import page
from sciriff.mix.near_duplicates import NoPackage, asked_for, near_duplicates_of, rules_digest, uncounted_card
from sciriff.mix.overlap_check import evaluation_digest, overlap_check, unchecked_card
from sciriff.mix.recipe import BATCH
from sciriff.mix.row_forms import row_forms
from sciriff.mix.sources import check_sources
from sciriff.mix.tokenise import Tokeniser, markup_digest
from sciriff.mix.used_sources import used_sources
from sciriff.models.chat_markup import unseen_day
from sciriff.models.loading import load_tokenizer
from sciriff.models.thoughts import refuse_budget, thoughts_of
from sciriff.models.tokenizer_template import THINKING, template_of
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.json_lines import read_jsonl
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole
from sciriff.stage import run_stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LAYOUT = 3
"""Version of the cache; raise it when the same recipe and sources give other rows, tokens or another card."""


def main(config: Config, run: RunDir) -> None:
    """Build the mix or find it in the cache, and copy it to the run folder (tokens as a link)."""
    chat = config.model.chat
    check_sources(used_sources(config.mix))
    cache = Path(config.cache_dir).expanduser().resolve()
    recipe = recipe_of(config)
    tokenizer = load_tokenizer(config.model)
    _check_budget_of_thoughts(config, tokenizer)
    settings = config.model.chat_settings
    if unseen := unseen_day(config.model, tokenizer):
        show(unseen)
    markup = markup_digest(chat, tokenizer, settings)
    folder = cache / "mixes" / _key(recipe, markup)
    cache.mkdir(parents=True, exist_ok=True)
    tokeniser = Tokeniser(chat, tokenizer, cache, settings, config.mix.on_bad_row)
    gc.freeze()  # else each full collection walks through what libraries have loaded, 0.1 s

    made: dict[str, Path] = {}

    def tokens_of(rows: Path, digest: str) -> Path:
        """Folder of the cache with the tokens of these rows, built if need be."""
        if digest not in made:
            made[digest] = cache / "tokens" / _key(digest, markup)
            count = _lines(rows)
            write = partial(tokeniser.write, rows, count)
            build_once(made[digest], "tokens", partial(_has_tokens, count), write)
        return made[digest]

    def build(into: Path) -> None:
        rows, validation = into / TRAIN, into / VALIDATION
        check = None
        if config.mix.overlap == "drop":
            check = overlap_check(config.eval)
        elif recipe.get(WATCHED_WITHOUT):
            check = _of_evaluation(config, overlap_check)
        held_out = config.eval.held_out
        overlapping = check.overlapping if check else None
        tally, drawn = build_mix(
            config.mix,
            into,
            tokeniser.fitting,
            overlapping,
            held_out,
            may_refuse=tokeniser.may_refuse,
            lengths=tokeniser.lengths,
        )
        digest, watched = file_digest(rows), file_digest(validation) if validation.exists() else None
        tokens = TokenFile(tokens_of(rows, digest))
        held_out_datasets = datasets_of(held_out)
        datasets = [conversation.dataset for conversation in read_jsonl(rows, Conversation)]
        card: MixCard = {
            "digest": digest,
            "recipe": recipe,
            "licenses": licenses(used_sources(config.mix)),
            "chat": chat,
            "markup_digest": markup,
            **tally.card(),
            **tokeniser.remarks(rows),
            "held_out_rows": sum(dataset in held_out_datasets for dataset in datasets),
            **token_card(tokens.ids, datasets, tokens.lengths, tokens.target_counts),
            "validation": validation_card(drawn, config.mix.validation_rows, watched, compared=check is not None),
        }
        if tally.asked:
            card["sources"] = source_cards(tally, tokens.lengths)
        if tally.near_duplicates is not None:
            card["near_duplicates"] = tally.near_duplicates
        if check and config.mix.overlap == "drop":
            card["overlap"] = check.card(left_out=True)
        _write_card(into / "card.json", card)

    build_once(folder, "mix", lambda folder: _is_whole(folder, config), build)
    card = read_mix_card(folder / "card.json")
    if {"train", "predict"} <= set(config.active_stages):
        _check_prompts(card, tokenizer, settings)
    if config.mix.overlap != "drop":
        card["overlap"] = _overlap_of(config, folder / TRAIN, card["digest"], cache)
        if digest := card["validation"]["digest"]:
            card["validation_overlap"] = _overlap_of(config, folder / VALIDATION, digest, cache)

    if "near_duplicates" not in card:
        card["near_duplicates"] = _near_duplicates_of(config, folder / TRAIN, card["digest"], cache)

    run.mix.parent.mkdir(parents=True, exist_ok=True)
    for digest, cached, rows, tokens in (
        (card["digest"], folder / TRAIN, run.mix, run.tokens),
        (card["validation"]["digest"], folder / VALIDATION, run.validation, run.validation_tokens),
    ):
        if digest is None:
            rows.unlink(missing_ok=True)
            tokens.unlink(missing_ok=True)
        else:
            _copy(cached, rows)
            _link(tokens_of(rows, digest), tokens)
    _write_card(run.mix_card, card)
    write_whole(run.mix_card_page, page(card, config.mix))
    show(*card_table.lines(card))


def _check_budget_of_thoughts(config: Config, tokenizer: Any) -> None:
    """UserError for eval.thinking_tokens where this tokenizer, which the trained model keeps, has no known mark: before
    the training, not after it."""
    asked = "predict" in config.active_stages and not config.engine.asks and config.eval.model is None
    unknown = asked and config.thinking_tokens and config.model.thinking is None
    if unknown and thoughts_of(config.model, tokenizer) is None:
        refuse_budget(config.model, config.thinking_tokens)


def _check_prompts(card: MixCard, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings) -> None:
    """UserError if most rows answer without a thought and every prompt of the evaluation begins one: all that the model
    has learnt to answer would count as a thought that never ends. Whoever asks for thoughts by name has decided."""
    silent = card.get("empty_thought")
    if silent is None or 2 * silent["rows"] <= card["rows"] or settings.arguments.get(THINKING) is True:
        return
    template = template_of(tokenizer, settings)
    if template.opens_thought:
        off = (
            f"give ++model.chat_arguments.{THINKING}=false"
            if THINKING in template.variables
            else "take another model.chat"
        )
        raise UserError(
            f"model.chat=tokenizer: {silent['rows']:,} of {card['rows']:,} rows, such as {silent['first'][0]}, have no "
            "thought, and the tokenizer's chat template begins one in every prompt, so that answers of the trained "
            f"model would count as thoughts without an end; {off}, or train on rows with thoughts"
        )


ROW_FILTERS = ("per_task", "tulu", "tasks", "families", "domains", "include_heldout")
RECIPE = (*ROW_FILTERS, "context_window", "truncate", "take", "seed")
"""Settings of MixConfig that choose among the rows of the sources."""

TOTALS = ("tokens", "rows")
"""Likewise, but in no recipe where there are none."""

WATCHED_WITHOUT = "validation_without_text_of"
"""Key of the recipe: digest of the evaluation prompts whose text no validation row has."""


def recipe_of(config: Config) -> dict[str, Any]:
    """Everything that decides which rows a mix has: the contents of its sources, and settings."""
    mix = config.mix
    used = used_sources(mix)
    recipe: dict[str, Any] = {
        "sources": {name: _provenance(name, source) for name, source in used.items()},
        "on_bad_row": mix.on_bad_row,
    }
    if not is_finished(mix):
        recipe |= {name: getattr(mix, name) for name in RECIPE}
        recipe |= {name: value for name in TOTALS if (value := getattr(mix, name)) is not None}
        if mix.near_duplicates == "drop":
            with asked_for("drop"):
                recipe["without_near_duplicates"] = rules_digest()
        if mix.validation_rows:
            splits = {name: validation_split(source) for name, source in used.items()}
            recipe["validation_splits"] = {name: source_digest(split) for name, split in splits.items() if split}
    if mix.overlap == "drop":  # report trains on the same rows as none
        recipe["without_text_of"] = evaluation_digest(config.eval)
    elif mix.overlap == "report" and mix.validation_rows and not is_finished(mix):
        recipe[WATCHED_WITHOUT] = _of_evaluation(config, evaluation_digest)
    own = {OWN_HELD_OUT: sorted(config.eval.own_tasks)} if config.eval.own_tasks else {}
    return recipe | {"validation_rows": mix.validation_rows} | own


T = TypeVar("T")


def _of_evaluation(config: Config, make: Callable[[EvalConfig], T]) -> T | None:
    """Apply `make` to the evaluation; None if its prompts cannot be read and this run does not answer them."""
    try:
        return make(config.eval)
    except ValueError:
        if "predict" in config.active_stages:
            raise
        return None


def _overlap_of(config: Config, rows: Path, digest: str, cache: Path) -> OverlapCard:
    """Compare finished rows with the evaluation prompts, or take the cached result.

    UserError if the prompts cannot be read and this run answers them. For a run that only trains, the card says that
    nothing was checked.
    """
    if config.mix.overlap == "none":
        return unchecked_card("mix.overlap=none")

    def build(into: Path) -> None:
        check = overlap_check(config.eval)
        progress = Progress(_lines(rows))
        conversations = read_jsonl(rows, Conversation)
        while batch := list(islice(conversations, BATCH)):
            check.overlapping(batch)
            progress(check.checked, "rows compared with the evaluation prompts")
        _write_card(into / "overlap.json", check.card())

    try:
        folder = cache / "overlaps" / _key(digest, evaluation_digest(config.eval))
        build_once(folder, "overlap", _has_overlap, build)
    except ValueError as error:
        if "predict" in config.active_stages:
            raise
        show(f"NOT CHECKED for text of the evaluation prompts: {error}")
        return unchecked_card(str(error))
    return read_overlap(folder / "overlap.json")


def _near_duplicates_of(config: Config, rows: Path, digest: str, cache: Path) -> NearCard:
    """Compare the rows of a finished mix with each other, or take the cached result. UserError where that was asked
    for and cannot be."""
    if config.mix.near_duplicates == "none":
        return uncounted_card("mix.near_duplicates=none")

    def build(into: Path) -> None:
        _write_card(into / "near.json", near_duplicates_of(rows))

    try:
        with asked_for(config.mix.near_duplicates):
            folder = cache / "near_duplicates" / _key(digest, rules_digest())
    except NoPackage as error:
        return uncounted_card(str(error))
    build_once(folder, "near-duplicates", _has_near_duplicates, build)
    return read_near_duplicates(folder / "near.json")


def _has_near_duplicates(folder: Path) -> bool:
    with suppress(FileNotFoundError, UserError):
        read_near_duplicates(folder / "near.json")
        return True
    return False


def _has_overlap(folder: Path) -> bool:
    with suppress(FileNotFoundError, UserError):
        read_overlap(folder / "overlap.json")
        return True
    return False


def _has_tokens(rows: int, folder: Path) -> bool:
    with suppress(ValueError):
        return len(TokenFile(folder)) == rows
    return False


def _write_card(path: Path, card: MixCard | OverlapCard | NearCard) -> None:
    write_whole(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _provenance(name: str, source: SourceConfig) -> dict[str, Any]:
    """Digest, name on the hub and use of a source. A local path does not count: the same rows are the same mix. The
    names of files do where rows without an id are called after them."""
    keys: tuple[str, ...] = () if source.path is not None else HUB_KEYS
    if isinstance(source, MixSourceConfig):
        keys += ("weight", "epochs", "license")
    about = {"digest": source_digest(source), **{key: getattr(source, key) for key in keys}}
    about |= {key: value for key in ("kind", "rows", "columns", "filter") if (value := getattr(source, key, None))}
    if source.path is not None and row_forms(name, source):
        about["files"] = [path.name for path in source_files(source)]
    return about


def _key(*parts: Any) -> str:
    return value_digest([LAYOUT, *parts])[:32]


def _is_whole(folder: Path, config: Config) -> bool:
    """Whether the rows of a cached mix are those of its card, no source was out of reach then, nor were the evaluation
    prompts unless they still are."""
    with suppress(FileNotFoundError, UserError):
        card = read_mix_card(folder / "card.json")
        validation = card["validation"]
        if any(half["out_of_reach"] is not None for half in validation["by_source"].values()):
            return False
        if card["recipe"].get(WATCHED_WITHOUT) and not validation["compared"] and _of_evaluation(config, overlap_check):
            return False
        digests = {TRAIN: card["digest"], VALIDATION: validation["digest"]}
        return all(file_digest(folder / name) == digest for name, digest in digests.items() if digest is not None)
    return False


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
