"""general: which general abilities are measured beside science, and by which protocol."""

from dataclasses import dataclass
from typing import Any

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError


@dataclass
class GeneralConfig:
    name: str = "none"
    """Name of the protocol, which tables and the report show. Tasks without a protocol are one's `own`."""
    tasks: list[str] = setting(factory=list)
    """Tasks and groups of lm-eval, by its names; empty measures nothing."""
    limit: Any = None
    """Documents of each leaf task at most, a seeded sample: a number for all, or one for each task or group
    (`general.limit={mmlu: 20, gsm8k_cot: 200}`). Null asks all."""
    shots: dict[str, int] = setting(factory=dict, least=0)
    """Examples before each question, by task or group; those that are not named have what lm-eval says."""
    metrics: dict[str, str] = setting(factory=dict)
    """The value that counts, by task or group: `METRIC` or `METRIC,FILTER`, as lm-eval names them."""
    prefixes: dict[str, str] = setting(factory=dict)
    """Words that the assistant's answer begins with, by task or group: `{mmlu: "The answer is:"}`."""
    turns: bool = True
    """Whether examples are turns of the conversation; false puts them into the user's message before the question. A
    base model (model.chat=general) gets plain text."""
    max_new_tokens: int | None = setting(None, least=1)
    """Longest answer, tokens, where a task allows more; null leaves it to the tasks."""
    data: str | None = setting(None, path=True)
    """Folder with the datasets as on the hub, OWNER/NAME below it; null is the hub and its cache."""
    include: list[str] = setting(factory=list, runs_or_sends=True, path=True)
    """Folders with lm-eval task files of one's own, which may name Python functions to run."""
    run_code: bool = setting(False, runs_or_sends=True)
    """Whether tasks may run the code that a model writes, on this machine and with all its rights."""
    seed: int = setting(1234, least=0)
    """Decides which documents and examples are drawn. The same in every run, so that runs can be compared."""

    def __post_init__(self) -> None:
        limits = self.limit.values() if isinstance(self.limit, dict) else [self.limit]
        for limit in limits:
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise UserError(f"general.limit={self.limit}: {limit} must be a whole number from 1, or null for all")
        for key in ("limit", "shots", "metrics", "prefixes"):
            for name in getattr(self, key) if isinstance(getattr(self, key), dict) else ():
                if not isinstance(name, str) or not name:
                    raise UserError(f"general.{key}: {name!r} is not the name of a task")
        if len(set(self.tasks)) < len(self.tasks):
            twice = next(name for name in self.tasks if self.tasks.count(name) > 1)
            raise UserError(f"general.tasks names {twice} twice")
        if self.tasks and self.name == "none":
            self.name = "own"

    def longest_answer(self, wanted: int) -> int:
        """Tokens that an answer may have where its task allows this many."""
        return wanted if self.max_new_tokens is None else min(wanted, self.max_new_tokens)

    def of(self, table: Any, *names: str) -> Any:
        """The entry of a table by task (`shots`, `limit`, ...) for a task that goes by these names: its own, then those
        of its groups, the closest first. None without one; a number is the limit of all."""
        if not isinstance(table, dict):
            return table
        return next((table[name] for name in names if name in table), None)
