"""Look up the judge's rows on disk, and add new ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciriff.data import judgements
from sciriff.data.judgements import RATED, UNREADABLE
from sciriff.data.records import AnswerKey, Judgement
from sciriff.data.saved_answers import SavedAnswer
from sciriff.models.api.calls import Reply
from sciriff.models.api.prices import Price
from sciriff.models.thought_marks import after_thought
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.json_lines import append_jsonl, repair_last_line
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.task import Task


@dataclass(frozen=True)
class Question:
    """One answer to judge."""

    task: Task
    answer: SavedAnswer
    digest: str
    """Digest of the prompt and the judge."""
    text: str

    @property
    def about(self) -> dict[str, Any]:
        """Data for its row that travels with the call."""
        return {"task": self.task.name, "instance_id": self.answer.instance_id, "sample": self.answer.sample}


@dataclass
class Rows:
    run: RunDir
    limit: int
    """Most tokens of a response today."""
    rows: list[Judgement] = field(default_factory=list)
    by_digest: dict[str, Judgement] = field(default_factory=dict)
    """A row with a rating if there is one, else the last."""
    written: dict[tuple[str, AnswerKey, str], Judgement] = field(default_factory=dict)
    """The last row by task, answer and digest."""

    @classmethod
    def read(cls, run: RunDir, limit: int) -> "Rows":
        """Read the rows of earlier starts. Half a line that a kill left at the end of a file is cut off."""
        rows = cls(run, limit)
        for task in HELD_OUT:
            path = rows.path(task)
            if task.judged is None or not path.is_file():
                continue
            if repair_last_line(path):
                show(f"{path}: its last line was only half written and is asked again")
            for row in judgements.read_rows(path):
                rows._note(task.name, row)
        return rows

    def _note(self, task: str, row: Judgement) -> None:
        self.rows.append(row)
        before = self.by_digest.get(row.prompt_digest)
        if before is None or before.rating is None:
            self.by_digest[row.prompt_digest] = row
        self.written[task, row.key, row.prompt_digest] = row

    def path(self, task: Task) -> Path:
        return self.run.judgements / f"{task.name}.jsonl"

    def has(self, question: Question) -> bool:
        row = self.written.get((question.task.name, question.answer.key, question.digest))
        return row is not None and self.is_final(row)

    def response(self, digest: str) -> Judgement | None:
        """Final row of a prompt, for any answer."""
        row = self.by_digest.get(digest)
        return row if row is not None and self.is_final(row) else None

    def is_final(self, row: Judgement) -> bool:
        """Whether asking again is of no use: there is a rating, or none with as many tokens as today's limit."""
        return row.rating is not None or not was_cut(row) or (row.limit or 0) >= self.limit

    def add(self, digest: str, about: dict[str, Any], judge: str, reply: Reply, usd: float | None) -> None:
        """Write the row of an answered question to the disk. An answer that a batch brings twice is written once."""
        task = next(task for task in HELD_OUT if task.name == about["task"])
        assert task.judged is not None
        rating = task.judged.rule.read(after_thought(reply.text))
        row = Judgement(
            instance_id=about["instance_id"],
            judge=judge,
            prompt_digest=digest,
            response=reply.text,
            rating=rating,
            status=UNREADABLE if rating is None else RATED,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            usd=usd,
            sample=about["sample"],
            finish_reason=reply.finish_reason,
            limit=about.get("limit"),
        )
        before = self.written.get((task.name, row.key, digest))
        if before is None or (before.rating is None and before.limit != row.limit):
            append_jsonl(self.path(task), row)
            self._note(task.name, row)

    def spent(self, judge: str, price: Price) -> float:
        """US dollars of all rows; one without a cost counts at today's `price` if this judge wrote it, else nothing."""
        known = sum(row.usd for row in self.rows if row.usd is not None)
        unknown = [row for row in self.rows if row.usd is None and row.judge == judge]
        return known + sum(price.of(row.input_tokens, row.output_tokens) for row in unknown)


def was_cut(row: Judgement) -> bool:
    """Whether a response has no rating and ran into its limit."""
    return row.rating is None and row.finish_reason in ("length", UNFINISHED_THOUGHT) and row.limit is not None
