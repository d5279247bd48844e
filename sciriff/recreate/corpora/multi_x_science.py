"""Multi-XScience: papers of arXiv and the abstracts that their related work cites, a compressed list for each split."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.typed_json import parsed_json
from sciriff.run.user_error import UserError

SPLITS = {"train": "train", "validation": "val", "test": "test"}


@dataclass
class Cited:
    mid: str
    abstract: str


@dataclass
class Paper:
    aid: str
    mid: str
    abstract: str
    related_work: str
    ref_abstract: dict[str, Cited]


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    """Yield records as the hub has them: the cited papers as a list, each with its marker."""
    try:
        content = gzip.decompress(files[0].read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{files[0]}: damaged or only half there ({error}); fetch it again") from None
    for paper in parsed_json(content, list[Paper], files[0], "a list of Multi-XScience's papers", "fetch it again"):
        yield {
            "aid": paper.aid,
            "mid": paper.mid,
            "abstract": paper.abstract,
            "related_work": paper.related_work,
            "ref_abstract": [
                {"cite_N": marker, "mid": cited.mid, "abstract": cited.abstract}
                for marker, cited in paper.ref_abstract.items()
            ],
            "_documents": [f"arxiv:{paper.aid}"],
        }


CORPORA = {
    "multi_x_science_sum": (
        Corpus({split: (f"multi_x_science_sum/{name}.json.gz",) for split, name in SPLITS.items()}, _read),
    )
}
