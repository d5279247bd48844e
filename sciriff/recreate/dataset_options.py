"""Questions on which data sets suit some research, as both of their formatters read and show them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.recreate.sentences import sentences


@dataclass
class Description:
    name: str
    text: str


@dataclass
class DatasetQuestion:
    """The columns of the hub's files were not seen, so these names are ours."""

    query: str
    keyphrase_query: str
    positives: list[str]
    """Names of the data sets that suit."""
    negatives: list[str]
    descriptions: list[Description]
    year: int | str = ""

    def shown(self, options: Sequence[str], sentences_each: int) -> Record:
        """Return what both templates show: query, keyphrase_query, `options` in a line, and `context`, a line with the
        first sentences of each option's description if it has one."""
        described = {description.name: description.text for description in self.descriptions}
        first = {name: " ".join(sentences(described.get(name, ""))[:sentences_each]) for name in options}
        return {
            "query": self.query,
            "keyphrase_query": self.keyphrase_query,
            "options": ", ".join(options),
            "context": "\n".join(f"{name}: {' '.join(text.split())}" for name, text in first.items() if text),
        }
