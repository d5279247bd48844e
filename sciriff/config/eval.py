"""eval: what is asked, and how it is scored."""

from dataclasses import dataclass, field

from sciriff.config.checks import at_least, one_of
from sciriff.config.source import SourceConfig


@dataclass
class EvalConfig:
    tasks: list[str] | None = None
    """Held-out tasks to answer; null is all nine."""
    path: str | None = None
    """Local instances in SciRIFF's row format (a file, or a folder); they replace the hub's."""
    source: SourceConfig = field(default_factory=SourceConfig)
    split: str = "validation"
    """Split of the hub dataset; of a local folder, the files whose name begins with it."""
    limit: int | None = None
    """Instances of each task at most: a seeded choice."""
    samples: int = 1
    """Answers to each prompt, each drawn anew at engine.temperature and scored by itself. Scores are their means, with
    the standard deviation over samples beside them."""
    model: str | None = None
    """Answer with this folder or hub id instead of the run's own model."""
    parity: str = "none"
    """reference: score as the original code does, its traps included, so that numbers can be set beside its own."""
    resamples: int = 10_000
    """Bootstrap samples behind the 95 % intervals of the scores; 0 leaves the intervals out."""
    truncation: str = "middle_of_document"
    """What happens to a prompt that is too long: middle_of_document, left, error or skip."""
    max_new_tokens: int = 1024
    """Longest answer, tokens."""
    max_new_tokens_of: dict[str, int] = field(default_factory=dict)
    """The same for single tasks, where it is another: `+eval.max_new_tokens_of.biored_ner=2048`."""

    def __post_init__(self) -> None:
        at_least("eval.limit", self.limit, 1)
        at_least("eval.samples", self.samples, 1)
        at_least("eval.max_new_tokens", self.max_new_tokens, 1)
        for task, limit in self.max_new_tokens_of.items():
            at_least(f"eval.max_new_tokens_of.{task}", limit, 1)
        at_least("eval.resamples", self.resamples, 0)
        one_of("eval.parity", self.parity, ("none", "reference"))
        one_of("eval.truncation", self.truncation, ("middle_of_document", "left", "error", "skip"))

    def longest_answer(self, task: str) -> int:
        """Tokens that an answer to this task may have."""
        return self.max_new_tokens_of.get(task, self.max_new_tokens)
