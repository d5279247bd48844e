"""What a worker is asked to build, and what it has built: the request and the result that build and worker exchange."""

from dataclasses import dataclass, field
from typing import Any

from sciriff.config import RecreateConfig

FIRST = 5
"""Ids named in the card for each reason."""


@dataclass(frozen=True)
class Settings:
    """What decides the rows of every task alike; the card has it."""

    context_window: int | None
    cap: int | None
    template: int | str | list[int]
    split: str
    seed: int
    tokenizer_digest: str | None

    @classmethod
    def of(cls, config: RecreateConfig, tokenizer_digest: str | None) -> "Settings":
        template = config.template if isinstance(config.template, int | str) else list(config.template)
        return cls(config.context_window, config.cap, template, config.split, config.seed, tokenizer_digest)


@dataclass(frozen=True)
class TaskRequest:
    """What a worker is to build."""

    file: str
    """Template file."""
    folder: str
    """Folder for the rows of the task."""
    key: str
    """Digest of all that decides the rows."""
    settings: Settings
    raw: str | None
    tokenizer: str | None
    pins: str | None
    started_in: str
    """Folder that relative paths here begin in."""
    text_is_lost: bool
    """Whether the authors drew text in an order that is lost, so that only a pin's own text can restore it."""


@dataclass
class TaskResult:
    """What was built. Everything in it is the same on every machine."""

    key: str
    templates: list[int]
    read: dict[str, int] = field(default_factory=dict)
    """Source split -> records."""
    rows: dict[str, int] = field(default_factory=dict)
    """Split -> rows."""
    input_tokens: dict[str, int | None] = field(default_factory=dict)
    output_tokens: dict[str, int | None] = field(default_factory=dict)
    longest: dict[str, int | None] = field(default_factory=dict)
    """Split -> tokens of its longest row."""
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reason -> {"rows", "first"}: how many, and the first ids."""
    pinned: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, instance: str) -> None:
        entry = self.left_out.setdefault(reason, {"rows": 0, "first": []})
        entry["rows"] += 1
        if len(entry["first"]) < FIRST:
            entry["first"].append(instance)
