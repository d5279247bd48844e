"""What building a mix came across: rows read, and for each that is left out why."""

from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class Found:
    """Rows of one kind: how many, and where the first few stand (or what they are called)."""

    rows: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row: str) -> None:
        self.rows += 1
        if len(self.first) < EXAMPLES:
            self.first.append(row)


@dataclass
class MixTally:
    """Every row that was read is either kept or dropped for one reason."""

    read: dict[str, int] = field(default_factory=dict)
    """Rows by source."""
    dropped: dict[str, Found] = field(default_factory=dict)
    """Rows by reason."""
    dropped_of_source: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows by source and reason."""
    dropped_of_dataset: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows by dataset and reason; without those of which no dataset could be read."""
    control_characters: Found = field(default_factory=Found)
    """Rows read with control characters other than NUL. They are no reason to drop a row: papers that were read out of
    PDF files have them, in the published corpora too."""
    commits: dict[str, str] = field(default_factory=dict)
    """Of the hub datasets that the rows are from, by source, where they are known."""
    repeated: dict[str, int] = field(default_factory=dict)
    """Rows by source that stand in the mix beside an earlier one of themselves."""
    general_missing: int = 0
    """Rows that mix.tulu asks for and the general source does not have."""
    same_text: int = 0
    """Rows of a finished mix with the text of an earlier one. They stay, since it is taken row for row."""
    shortened: int = 0
    """Rows of the mix without their last turns, by mix.truncate=turns."""

    def drop(self, reason: str, row: str, source: str, dataset: str | None = None) -> None:
        self.dropped.setdefault(reason, Found()).add(row)
        _count(self.dropped_of_source, source, reason)
        if dataset is not None:
            _count(self.dropped_of_dataset, dataset, reason)

    @property
    def reasons(self) -> dict[str, int]:
        """Dropped rows by reason."""
        return {reason: found.rows for reason, found in self.dropped.items()}

    @property
    def kept(self) -> int:
        """Rows of the mix."""
        return sum(self.read.values()) - sum(self.reasons.values()) + sum(self.repeated.values())


def _count(groups: dict[str, dict[str, int]], group: str, reason: str) -> None:
    reasons = groups.setdefault(group, {})
    reasons[reason] = reasons.get(reason, 0) + 1
