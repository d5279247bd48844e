"""Count the rows that building a mix reads, and those that it leaves out by reason."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sciriff.data.mix_card import NearCard, TallyCard

EXAMPLES = 5
APART = ("asked", "origins", "near_duplicates")
"""Counts that the card has in another form, or not."""


@dataclass
class Found:
    """Rows of one kind, with the places or names of the first few."""

    rows: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row: str) -> None:
        self.rows += 1
        if len(self.first) < EXAMPLES:
            self.first.append(row)


@dataclass
class Asked:
    """What the recipe asks of a source."""

    kind: str
    rule: str
    rows: int | None
    tokens: int | None
    short: list[str] = field(default_factory=list)
    """One line where it has less."""


@dataclass
class MixTally:
    """Counts under the names of TallyCard. Every row that was read is either kept or dropped for one reason."""

    read: dict[str, int] = field(default_factory=dict)
    """Rows by source."""
    commits: dict[str, str] = field(default_factory=dict)
    """Commits of the hub datasets by source, as far as they are known."""
    general_missing: int = 0
    """Rows that mix.tulu asks for and the general source does not have."""
    asked: dict[str, Asked] = field(default_factory=dict)
    """By source, unless the mix is a finished one."""
    origins: list[str] = field(default_factory=list)
    """Source of each row of the mix, in their order, unless it is a finished one."""
    near_duplicates: NearCard | None = None
    """What mix.near_duplicates=drop finds among the rows that the recipe chooses from."""
    repeated: dict[str, int] = field(default_factory=dict)
    """Repetitions of rows in the mix, by source."""
    same_text: int = 0
    """Rows of a finished mix with the text of an earlier one. They stay, since it is taken row for row."""
    shortened: int = 0
    """Rows of the mix without their last turns, by mix.truncate=turns."""
    read_with_control_characters: Found = field(default_factory=Found)
    """Rows with control characters other than NUL. They stay: papers that were read out of PDF files have them."""
    read_with_other_thoughts: Found = field(default_factory=Found)
    """Rows with something else than text under a name that thoughts have, such as settings. It is ignored."""
    dropped: dict[str, Found] = field(default_factory=dict)
    """Rows by reason."""
    dropped_by_source: dict[str, Counter[str]] = field(default_factory=dict)
    """Rows by source and reason."""
    dropped_by_dataset: dict[str, Counter[str]] = field(default_factory=dict)
    """Rows by dataset and reason, without rows whose dataset could not be read."""

    def drop(self, reason: str, row: str, source: str, dataset: str | None = None) -> None:
        self.dropped.setdefault(reason, Found()).add(row)
        self.dropped_by_source.setdefault(source, Counter())[reason] += 1
        if dataset is not None:
            self.dropped_by_dataset.setdefault(dataset, Counter())[reason] += 1

    def ask(self, source: str, kind: str, rule: str, *, rows: int | None = None, tokens: int | None = None) -> Asked:
        """Note what is asked of a source, and return the note."""
        self.asked[source] = Asked(kind, rule, rows, tokens)
        return self.asked[source]

    @property
    def reasons(self) -> dict[str, int]:
        """Dropped rows by reason."""
        return {reason: found.rows for reason, found in self.dropped.items()}

    @property
    def kept(self) -> int:
        """Rows of the mix."""
        return sum(self.read.values()) - sum(self.reasons.values()) + sum(self.repeated.values())

    def card(self) -> TallyCard:
        """The counts for mix/card.json, dropped rows sorted by name."""
        card: Any = {key: value for key, value in vars(self).items() if key not in APART}
        card |= {"read_with_control_characters": asdict(self.read_with_control_characters)}
        card["read_with_other_thoughts"] = asdict(self.read_with_other_thoughts)
        if not self.read_with_other_thoughts.rows:
            del card["read_with_other_thoughts"]
        card["dropped"] = {reason: asdict(found) for reason, found in sorted(self.dropped.items())}
        for groups in ("dropped_by_source", "dropped_by_dataset"):
            card[groups] = {group: dict(sorted(reasons.items())) for group, reasons in sorted(card[groups].items())}
        return card
