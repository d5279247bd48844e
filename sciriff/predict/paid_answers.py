"""Every answer that a server gave to this run, on the disk before the next is asked for, by what was asked.

predictions/<task>.jsonl is made from these rows and may be made again; these are only ever added to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sciriff.models.api.calls import Reply, Sent
from sciriff.models.api.limits import Price
from sciriff.run.json_lines import append_jsonl, read_json_objects, repair_last_line
from sciriff.run.user_error import UserError


@dataclass(frozen=True)
class PaidAnswer:
    """One answer."""

    digest: str
    """Of the prompt, its limit, the model and the settings that the answer depends on."""
    model: str
    text: str
    finish_reason: str | None
    input_tokens: int
    """By the server's count."""
    output_tokens: int
    usd: float | None
    """What it cost at the price of its day; None where the price was not known."""
    question: str | None = None
    """The digest of the same without the limit. This and the limit are None in rows of older versions, which answer
    what has their digest and nothing else."""
    limit: int | None = None
    """Tokens that it might have, those of thinking included."""

    def comes_again(self, limit: int) -> bool:
        """Whether this very answer would come under another limit: the model has ended it, and it has room. A server
        that does not say why an answer has ended has cut one that is as long as it might be."""
        cut = self.finish_reason == "length" or (self.finish_reason is None and self.output_tokens >= (self.limit or 0))
        return not cut and self.output_tokens <= limit


@dataclass
class PaidAnswers:
    """All of them, and the way to add one."""

    path: Path
    by_digest: dict[str, PaidAnswer] = field(default_factory=dict)
    by_question: dict[str, list[PaidAnswer]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "PaidAnswers":
        """The rows of earlier starts. Half a line at the end, where a kill has left one, is cut off. UserError names
        file and line of one that is broken."""
        if repair_last_line(path):
            print(f"{path}: its last line was only half written and is asked again", flush=True)
        answers = cls(path)
        for row in _rows(path):
            answers._note(row)
        return answers

    def find(self, digest: str, question: str, limit: int) -> PaidAnswer | None:
        """The answer that has this digest, or one to the same question under another limit that would be the same."""
        if digest in self.by_digest:
            return self.by_digest[digest]
        return next((row for row in self.by_question.get(question, ()) if row.comes_again(limit)), None)

    def add(self, call: Sent, reply: Reply, usd: float | None) -> PaidAnswer:
        """Write the answer to a call, unless it is here already, as one of a batch may be. It is on the disk when this
        returns."""
        if call.id not in self.by_digest:
            counts = reply.input_tokens, reply.output_tokens
            row = PaidAnswer(call.id, call.model, reply.text, reply.finish_reason, *counts, usd, **call.about)
            append_jsonl(self.path, row)
            self._note(row)
        return self.by_digest[call.id]

    def _note(self, row: PaidAnswer) -> None:
        self.by_digest[row.digest] = row
        if row.question is not None:
            self.by_question.setdefault(row.question, []).append(row)

    def spent(self, price: Price) -> float:
        """US dollars that all rows have cost; those that do not say it count at today's price."""
        return sum(
            price.of(row.input_tokens, row.output_tokens) if row.usd is None else row.usd
            for row in self.by_digest.values()
        )


def _rows(path: Path) -> Iterator[PaidAnswer]:
    names = [known.name for known in fields(PaidAnswer)]
    for number, values in read_json_objects(path) if path.is_file() else ():
        row: dict[str, Any] = {name: values.get(name) for name in names}
        texts = [row[name] for name in ("digest", "model", "text")]
        counts = [row[name] for name in ("input_tokens", "output_tokens")]
        usd, limit = row["usd"], row["limit"]
        good = all(isinstance(text, str) for text in texts) and all(type(n) is int and n >= 0 for n in counts)
        if (
            not good
            or not all(isinstance(row[name], str | None) for name in ("finish_reason", "question"))
            or not (limit is None or type(limit) is int)
            or not (usd is None or (type(usd) in (int, float) and usd >= 0))
        ):
            raise UserError(f"{path}:{number}: not an answer as this stage writes them; move the file away")
        yield PaidAnswer(**row)
