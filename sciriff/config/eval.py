"""eval: what is asked, and how it is scored."""

from dataclasses import dataclass

from sciriff.config.own_tasks import refuse_own_task
from sciriff.config.roles import HOW, HOW_MUCH, setting
from sciriff.config.source import SourceConfig
from sciriff.run.user_error import UserError
from sciriff.tasks.own import METRICS, held_out
from sciriff.tasks.task import Task


@dataclass
class EvalConfig:
    tasks: list[str] | None = setting(None, HOW_MUCH)
    """Held-out tasks to answer; null is all nine and one's own."""
    own_tasks: dict[str, str] = setting(role=HOW_MUCH, factory=dict, choices=tuple(METRICS), unwritten_if_empty=True)
    """Tasks of one's own, which are held out like the nine, and the metric of each: those of `card.json` in the folder
    `eval.path`, and others that are typed (`+eval.own_tasks.my_task=list_f1`)."""
    path: str | None = setting(None, path=True)
    """Local instances in SciRIFF's row format (a file, or a folder); they replace the hub's."""
    source: SourceConfig = setting(factory=SourceConfig)
    split: str = "validation"
    """Split of the hub dataset; of a local folder, the files whose name begins with it."""
    limit: int | None = setting(None, HOW_MUCH, least=1)
    """Instances of each task at most: a seeded choice."""
    samples: int = setting(1, HOW_MUCH, least=1)
    """Answers to each prompt, sampled at engine.temperature and scored by themselves. Scores are their means, with the
    standard deviation over samples beside them."""
    model: str | None = setting(None, path=True, or_hub_id=True)
    """Answer with this folder or hub id instead of the run's own model."""
    parity: str = setting("none", choices=("none", "reference"))
    """reference: score as the original code does, its traps included, for comparison with its numbers."""
    resamples: int = setting(10_000, HOW, least=0)
    """Bootstrap samples behind the 95 % intervals of general tasks; 0 leaves out all intervals of scores."""
    truncation: str = setting("middle_of_document", HOW_MUCH, choices=("middle_of_document", "left", "error", "skip"))
    """What happens to a prompt that is too long: middle_of_document, left, error or skip."""
    max_new_tokens: int = setting(1024, HOW_MUCH, least=1)
    """Longest answer, tokens."""
    max_new_tokens_of: dict[str, int] = setting(role=HOW_MUCH, factory=dict, least=1)
    """The same for single tasks: `+eval.max_new_tokens_of.biored_ner=2048`."""
    thinking_tokens: int = setting(0, HOW_MUCH, least=0, unwritten_if_empty=True)
    """Tokens that a model may think before it answers, besides the answer's own limit; a thought that has not ended by
    then is stopped and brings no answer. 0: a thought takes its tokens from the answer's limit."""

    def __post_init__(self) -> None:
        for name in self.own_tasks:
            refuse_own_task("eval.own_tasks", name)
        if self.parity == "reference" and self.thinking_tokens:
            raise UserError(
                f"eval.thinking_tokens={self.thinking_tokens} does not go with eval.parity=reference: the original "
                "code knows no thoughts and scores all that a model writes"
            )

    @property
    def held_out(self) -> tuple[Task, ...]:
        """The tasks that may be answered and that no training mix contains: the nine, and one's own after them."""
        return held_out(self.own_tasks)

    def longest_answer(self, task: str) -> int:
        """Tokens that an answer to this task may have."""
        return self.max_new_tokens_of.get(task, self.max_new_tokens)
