"""mix/card.json: what the mix stage says of a mix, and what everybody else reads."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sciriff.run.typed_json import read_json


class TokenCounts(TypedDict):
    """Tokens of several rows."""

    sum: int
    mean: float
    median: float
    max: int


class MixPart(TypedDict):
    """Rows of a dataset, of a half of the mix, or of all of it."""

    rows: int
    prompt_tokens: TokenCounts
    target_tokens: TokenCounts
    target_share: float


class LongRow(TypedDict):
    """A row that is named for its length."""

    row: str
    tokens: int


class TokenCard(MixPart):
    """Rows and tokens of the mix and of its parts."""

    by_source: dict[str, MixPart]
    """Of its science and its general half."""
    by_dataset: dict[str, MixPart]
    longest: list[LongRow]


class FoundRows(TypedDict):
    """Rows of one kind: how many, and where the first few stand or what they are called."""

    rows: int
    first: list[str]


class TallyCard(TypedDict):
    """What was read, and what of it was left out. Dicts are by source, unless they say otherwise."""

    read: dict[str, int]
    commits: dict[str, str]
    general_missing: int
    repeated: dict[str, int]
    same_text: int
    shortened: int
    read_with_control_characters: FoundRows
    dropped: dict[str, FoundRows]
    """By reason."""
    dropped_by_source: dict[str, dict[str, int]]
    dropped_by_dataset: dict[str, dict[str, int]]


# "from" is a keyword of Python's
WatchedHalf = TypedDict(
    "WatchedHalf", {"rows": int, "from": dict[str, int], "left_out": dict[str, int], "out_of_reach": str | None}
)
"""Validation rows of one half of the mix."""


class ValidationCard(TypedDict):
    """The rows that watch the training."""

    wanted: int
    digest: str | None
    compared: bool
    """Rows with text of the evaluation prompts were left out."""
    by_source: dict[str, WatchedHalf]


class OverlappingPair(TypedDict):
    """A row of the mix and an evaluation prompt that share text."""

    row: str
    instance: str
    kind: str
    shared_words: int
    share_of_prompt: float


class OverlapCard(TypedDict):
    """What rows share with the evaluation prompts; only the first two keys where nothing was compared."""

    summary: str
    checked: int
    against: NotRequired[int]
    found: NotRequired[int]
    instances: NotRequired[int]
    pairs: NotRequired[list[OverlappingPair]]
    more_pairs: NotRequired[int]


class MixCard(TallyCard, TokenCard):
    """The whole file."""

    digest: str
    recipe: dict[str, Any]
    licenses: dict[str, str]
    chat: str
    markup_digest: str
    held_out_rows: int
    validation: ValidationCard
    overlap: NotRequired[OverlapCard]
    """This and the next are added in the run folder; the cache is shared by runs with other evaluation prompts."""
    validation_overlap: NotRequired[OverlapCard]


def read_mix_card(path: Path) -> MixCard:
    """The card. UserError names the file that is missing or broken."""
    return read_json(path, MixCard, "the card of a mix", "run the mix stage again")


def read_overlap(path: Path) -> OverlapCard:
    """What a folder of the cache says of a mix and some evaluation prompts."""
    return read_json(path, OverlapCard, "what a mix shares with evaluation prompts", "remove its folder")
