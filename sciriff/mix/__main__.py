"""The mix stage: find or build the mix and its tokens in the cache, and lay them into the run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciriff.config import Config, MixConfig, SourceConfig
from sciriff.digest import file_digest, value_digest
from sciriff.mix.build import HELD_OUT_DATASETS, build_mix, used_sources
from sciriff.mix.cache import build_once
from sciriff.mix.card import dropped_card, table, token_card
from sciriff.mix.tokenise import lengths, markup_digest, write_tokens
from sciriff.pretrained import load_tokenizer
from sciriff.records import Conversation, read_jsonl
from sciriff.run_dir import RunDir
from sciriff.source_files import source_digest
from sciriff.stage import run_stage
from sciriff.token_file import TokenFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LAYOUT = 1
"""Raised when the same recipe and sources would give other rows, tokens or another card than before."""


def main(config: Config, run: RunDir) -> None:
    """Build what `config.mix` describes, or find it built, and copy it to the run folder (tokens as a link)."""
    chat = config.model.chat
    cache = Path(config.cache_dir).expanduser().resolve()
    recipe = recipe_of(config.mix)
    tokenizer = load_tokenizer(config.model)
    markup = markup_digest(chat, tokenizer)
    folder = cache / "mixes" / _key(recipe, markup)

    def build(into: Path) -> None:
        rows = into / "train.jsonl"
        tally = build_mix(config.mix, rows, lambda conversations: lengths(chat, conversations, tokenizer))
        digest = file_digest(rows)
        tokens_folder = cache / "tokens" / _key(digest, markup)
        _have_tokens(tokens_folder, rows, tally.kept, chat, tokenizer)
        tokens = TokenFile(tokens_folder)
        datasets = [conversation.dataset for conversation in read_jsonl(rows, Conversation)]
        card = {
            "digest": digest,
            "recipe": recipe,
            "chat": chat,
            "markup_digest": markup,
            "read": tally.read,
            "read_with_control_characters": tally.control_characters,
            "dropped": dropped_card(tally),
            "held_out_rows": sum(dataset in HELD_OUT_DATASETS for dataset in datasets),
            **token_card(datasets, tokens.lengths, tokens.target_counts),
        }
        (into / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    built_now = build_once(folder, "mix", _is_whole, build)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    tokens_folder = cache / "tokens" / _key(card["digest"], markup)
    if not built_now:
        _have_tokens(tokens_folder, folder / "train.jsonl", card["rows"], chat, tokenizer)

    run.mix.parent.mkdir(parents=True, exist_ok=True)
    _copy(folder / "train.jsonl", run.mix)
    _copy(folder / "card.json", run.mix_card)
    _link(tokens_folder, run.tokens)
    print(table(card), flush=True)


def recipe_of(mix: MixConfig) -> dict[str, Any]:
    """All that decides which rows a mix has: what its sources hold, and the settings that play a part."""
    used = used_sources(mix)
    recipe: dict[str, Any] = {
        "sources": {name: _provenance(source) for name, source in used.items()},
        "on_bad_row": mix.on_bad_row,
    }
    if not {"path", "published"} & used.keys():
        for name in ("per_task", "tulu", "include_heldout", "context_window", "take", "seed"):
            recipe[name] = getattr(mix, name)
    return recipe


def _provenance(source: SourceConfig) -> dict[str, str | None]:
    """What a source holds, and its name on the hub. Not the path of a local one: the same rows are the same mix."""
    named = {} if source.path is not None else {k: getattr(source, k) for k in ("hub", "config", "split", "revision")}
    return {"digest": source_digest(source), **named}


def _key(*parts: Any) -> str:
    return value_digest([LAYOUT, *parts])[:32]


def _have_tokens(folder: Path, mix: Path, rows: int, chat: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Have the tokens of a finished mix in their folder of the cache."""

    def is_whole(folder: Path) -> bool:
        try:
            return len(TokenFile(folder)) == rows
        except ValueError:
            return False

    build_once(folder, "tokens", is_whole, lambda into: write_tokens(mix, rows, into, chat, tokenizer))


def _is_whole(folder: Path) -> bool:
    """The rows of a cached mix are those that its card was made for."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return card["digest"] == file_digest(folder / "train.jsonl")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def _link(folder: Path, link: Path) -> None:
    """Make `link` point to `folder`, whatever it was before."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    partial = link.with_name(link.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(folder, target_is_directory=True)
    partial.replace(link)


if __name__ == "__main__":
    run_stage(main)
