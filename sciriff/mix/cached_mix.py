"""The mix of a config in the cache: its rows, their tokens and its card, each built if need be."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from sciriff.config import Config
from sciriff.data.mix_card import MixCard, read_mix_card
from sciriff.data.records import Conversation
from sciriff.data.token_file import TokenFile
from sciriff.mix.build import TRAIN, VALIDATION, build_mix
from sciriff.mix.cache import build_once
from sciriff.mix.candidates import datasets_of
from sciriff.mix.card import licenses, source_cards, token_card, validation_card
from sciriff.mix.comparisons import lines_of, near_duplicates_card, overlap_of, write_card
from sciriff.mix.identity import WATCHED_WITHOUT, key, of_evaluation, recipe_of
from sciriff.mix.overlap_check import OverlapCheck, overlap_check
from sciriff.mix.tokenise import Tokeniser
from sciriff.mix.used_sources import used_sources
from sciriff.run.digest import file_digest
from sciriff.run.json_lines import read_jsonl
from sciriff.run.user_error import UserError


class CachedMix:
    """The mix of a config, for a tokenizer and the markup that it makes of messages."""

    def __init__(self, config: Config, cache: Path, tokeniser: Tokeniser, markup: str) -> None:
        self.config, self.cache, self.tokeniser, self.markup = config, cache, tokeniser, markup
        self.recipe = recipe_of(config)
        self.folder = cache / "mixes" / key(self.recipe, markup)
        self._tokens: dict[str, Path] = {}

    def card(self) -> MixCard:
        """Build the mix, unless it is there, and return its card with all that its rows are compared with."""
        build_once(self.folder, "mix", self._is_whole, self._build)
        return read_mix_card(self.folder / "card.json")

    def compare(self, card: MixCard) -> None:
        """Add to the card what the rows have of the evaluation prompts and of each other, unless such rows were left
        out when the mix was built."""
        config, rows, digest = self.config, self.folder / TRAIN, card["digest"]
        if config.mix.overlap != "drop":
            card["overlap"] = overlap_of(config, rows, digest, self.cache)
            if watched := card["validation"]["digest"]:
                card["validation_overlap"] = overlap_of(config, self.folder / VALIDATION, watched, self.cache)
        if "near_duplicates" not in card:
            card["near_duplicates"] = near_duplicates_card(config, rows, digest, self.cache)

    def tokens_of(self, rows: Path, digest: str) -> Path:
        """Folder of the cache with the tokens of these rows, built if need be."""
        if digest not in self._tokens:
            self._tokens[digest] = self.cache / "tokens" / key(digest, self.markup)
            count = lines_of(rows)
            write = partial(self.tokeniser.write, rows, count)
            build_once(self._tokens[digest], "tokens", partial(_has_tokens, count), write)
        return self._tokens[digest]

    def _build(self, into: Path) -> None:
        config, tokeniser, check = self.config, self.tokeniser, self._check()
        rows, validation = into / TRAIN, into / VALIDATION
        tally, drawn = build_mix(
            config.mix,
            into,
            tokeniser.fitting,
            check.overlapping if check else None,
            config.eval.held_out,
            may_refuse=tokeniser.may_refuse,
            lengths=tokeniser.lengths,
        )
        digest, watched = file_digest(rows), file_digest(validation) if validation.exists() else None
        tokens = TokenFile(self.tokens_of(rows, digest))
        held_out_datasets = datasets_of(config.eval.held_out)
        datasets = [conversation.dataset for conversation in read_jsonl(rows, Conversation)]
        card: MixCard = {
            "digest": digest,
            "recipe": self.recipe,
            "licenses": licenses(used_sources(config.mix)),
            "chat": config.model.chat,
            "markup_digest": self.markup,
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
        write_card(into / "card.json", card)

    def _check(self) -> OverlapCheck | None:
        """The comparison with evaluation prompts that decides which rows enter, if one does."""
        if self.config.mix.overlap == "drop":
            return overlap_check(self.config.eval)
        return of_evaluation(self.config, overlap_check) if self.recipe.get(WATCHED_WITHOUT) else None

    def _is_whole(self, folder: Path) -> bool:
        """Whether the rows of a cached mix are those of its card, no source was out of reach then, nor were the
        evaluation prompts unless they still are."""
        with suppress(FileNotFoundError, UserError):
            card = read_mix_card(folder / "card.json")
            validation = card["validation"]
            if any(half["out_of_reach"] is not None for half in validation["by_source"].values()):
                return False
            uncompared = card["recipe"].get(WATCHED_WITHOUT) and not validation["compared"]
            if uncompared and of_evaluation(self.config, overlap_check):
                return False
            digests = {TRAIN: card["digest"], VALIDATION: validation["digest"]}
            return all(file_digest(folder / name) == digest for name, digest in digests.items() if digest is not None)
        return False


def _has_tokens(rows: int, folder: Path) -> bool:
    with suppress(ValueError):
        return len(TokenFile(folder)) == rows
    return False
