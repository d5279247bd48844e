"""Every answer that a server gave to this run, on the disk before the next is asked for, by what was asked.

predictions/<task>.jsonl is made from these rows and may be made again; these are only ever added to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sciriff.api.calls import Reply
from sciriff.api.limits import Price
from sciriff.records import append_jsonl, mend_last_line, read_json_objects


@dataclass(frozen=True)
class PaidAnswer:
    """One answer."""

    digest: str
    """Of the prompt, the model and the settings that the answer depends on."""
    model: str
    text: str
    finish_reason: str | None
    input_tokens: int
    """By the server's count."""
    output_tokens: int
    usd: float | None
    """What it cost at the price of its day; None where the price was not known."""


@dataclass
class PaidAnswers:
    """All of them, and the way to add one."""

    path: Path
    by_digest: dict[str, PaidAnswer] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "PaidAnswers":
        """The rows of earlier starts. Half a line at the end, where a kill has left one, is cut off. ValueError names
        file and line of one that is broken."""
        if mend_last_line(path):
            print(f"{path}: its last line was only half written and is asked again", flush=True)
        return cls(path, {row.digest: row for row in _rows(path)})

    def add(self, digest: str, model: str, reply: Reply, usd: float | None) -> PaidAnswer:
        """Write an answer; it is on the disk when this returns."""
        row = PaidAnswer(digest, model, reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens, usd)
        append_jsonl(self.path, row)
        self.by_digest[digest] = row
        return row

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
        usd, reason = row["usd"], row["finish_reason"]
        good = all(isinstance(text, str) for text in texts) and all(type(n) is int and n >= 0 for n in counts)
        if (
            not good
            or not isinstance(reason, str | None)
            or not (usd is None or (type(usd) in (int, float) and usd >= 0))
        ):
            raise ValueError(f"{path}:{number}: not an answer as this stage writes them; move the file away")
        yield PaidAnswer(**row)
