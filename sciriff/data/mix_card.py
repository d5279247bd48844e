"""Types and readers of mix/card.json and of the cached overlaps."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sciriff.run.typed_json import read_json

OWN_HELD_OUT = "own_held_out_tasks"
"""Key of the recipe: names of the held-out tasks beside the nine, where there are any."""


class TokenCounts(TypedDict):
    sum: int
    mean: float
    median: float
    max: int


class MixPart(TypedDict):
    """Counts of a dataset, a half of the mix, or all of it."""

    rows: int
    prompt_tokens: TokenCounts
    target_tokens: TokenCounts
    target_share: float


class LongRow(TypedDict):
    row: str
    tokens: int


class TokenCard(MixPart):
    """Rows and tokens of the mix and of its parts."""

    by_source: dict[str, MixPart]
    """Keys are `science` and `general`."""
    by_dataset: dict[str, MixPart]
    longest: list[LongRow]


class FoundRows(TypedDict):
    """Rows of one kind, with the places or names of the first few."""

    rows: int
    first: list[str]


class TallyCard(TypedDict):
    """Rows that were read and left out; see MixTally. Dicts are by source unless named otherwise."""

    read: dict[str, int]
    commits: dict[str, str]
    general_missing: int
    repeated: dict[str, int]
    same_text: int
    shortened: int
    read_with_control_characters: FoundRows
    read_with_other_thoughts: NotRequired[FoundRows]
    """Rows whose field for a thought has no text; absent if there are none."""
    dropped: dict[str, FoundRows]
    """Keys are reasons."""
    dropped_by_source: dict[str, dict[str, int]]
    dropped_by_dataset: dict[str, dict[str, int]]


# "from" is a keyword of Python's
WatchedHalf = TypedDict(
    "WatchedHalf", {"rows": int, "from": dict[str, int], "left_out": dict[str, int], "out_of_reach": str | None}
)
"""Validation rows of one half of the mix."""


class ValidationCard(TypedDict):
    wanted: int
    digest: str | None
    compared: bool
    """Rows with text of the evaluation prompts were left out."""
    by_source: dict[str, WatchedHalf]


class SourceCard(TypedDict):
    """What the recipe asks of a source, and what the mix has of it."""

    kind: str
    asked: str
    """The rule, in words."""
    asked_rows: NotRequired[int]
    asked_tokens: NotRequired[int]
    rows: int
    tokens: int
    short: NotRequired[str]
    """One line on why it is less than was asked for, and what to do."""


class OverlappingPair(TypedDict):
    """A row of the mix and an evaluation prompt that share text."""

    row: str
    instance: str
    kind: str
    shared_words: int
    share_of_prompt: float


class OverlapCard(TypedDict):
    """Text that rows share with the evaluation prompts; only the first two keys if nothing was compared."""

    summary: str
    checked: int
    against: NotRequired[int]
    found: NotRequired[int]
    instances: NotRequired[int]
    pairs: NotRequired[list[OverlappingPair]]
    more_pairs: NotRequired[int]


class NearPair(TypedDict):
    """A row and an earlier one that is nearly the same; `share` of their runs of words are in both, by estimate."""

    row: str
    like: str
    share: float


class NearCard(TypedDict):
    """Rows that are nearly the same as an earlier one; only the first two keys if nothing was compared."""

    summary: str
    checked: int
    found: NotRequired[int]
    pairs: NotRequired[list[NearPair]]
    """The first ones."""


class RemarkCard(TypedDict):
    """Rows of the mix of which not all is learnt; without a key where there are none."""

    last_answer_alone: NotRequired[FoundRows]
    """The tokenizer's template shows earlier answers otherwise than when they were given."""
    without_thought: NotRequired[FoundRows]
    """The markup has no place for the thought of an answer."""
    empty_thought: NotRequired[FoundRows]
    """The tokenizer's template writes an empty thought before an answer, which is not learnt."""


class MixCard(TallyCard, TokenCard, RemarkCard):
    digest: str
    recipe: dict[str, Any]
    licenses: dict[str, str]
    chat: str
    markup_digest: str
    held_out_rows: int
    sources: NotRequired[dict[str, SourceCard]]
    """Absent of a finished mix, and in cards of earlier versions."""
    validation: ValidationCard
    overlap: NotRequired[OverlapCard]
    """This and the next exist in the run folder alone: runs with other evaluation prompts share the cache."""
    validation_overlap: NotRequired[OverlapCard]
    near_duplicates: NotRequired[NearCard]
    """Absent in cards of earlier versions."""


def read_mix_card(path: Path) -> MixCard:
    """Read card.json. UserError names the file that is missing or broken."""
    return read_json(path, MixCard, "the card of a mix", "run the mix stage again")


def read_near_duplicates(path: Path) -> NearCard:
    """Read the cached comparison of the rows of a mix with each other."""
    return read_json(path, NearCard, "the rows of a mix that are nearly the same", "remove its folder")


def read_overlap(path: Path) -> OverlapCard:
    """Read the cached comparison of a mix with evaluation prompts."""
    return read_json(path, OverlapCard, "what a mix shares with evaluation prompts", "remove its folder")
