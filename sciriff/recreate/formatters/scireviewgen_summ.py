"""SciReviewGen: abstracts that a literature review cites, to write one of its chapters."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError

END, SEPARATOR = "</s>", "<s>"
"""After each cited paper; between the review's title, the chapter's, an abstract and its marker such as BIB001."""


@dataclass
class Chapter:
    reference: str
    target: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield input_transformed and target_transformed.

    The input names the review and the chapter once, then lists the abstracts, each behind the marker that the chapter
    cites it by. The layout is ours; all abstracts stay, of which the authors' program lost the last.
    """
    chapter = typed(record, Chapter)
    papers = [part.split(SEPARATOR) for part in chapter.reference.split(END) if part.strip()]
    for number, pieces in enumerate(papers, 1):
        if len(pieces) != 4:
            raise UserError(f"reference: cited paper {number} has {len(pieces)} parts between <s>, and must have 4")
    if not papers:
        raise UserError("reference: no cited paper in it")
    abstracts = [f"{marker.strip()}: {abstract.strip()}" for _, _, abstract, marker in papers]
    review, title = papers[0][0].strip(), papers[0][1].strip()
    head = f"Literature review title: {review}\nChapter title: {title}\n\nAbstracts of cited papers:\n"
    yield {"input_transformed": head + "\n".join(abstracts), "target_transformed": chapter.target.strip()}
