"""Annotated materials syntheses: 230 passages with the operations of a synthesis and what takes part in them."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.brat import brat_documents
from sciriff.recreate.readers.text_lines import text_lines
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError


def read(split: str, files: list[Path]) -> Iterator[Record]:
    """Yield the documents that the split's list names, in its order."""
    names = only_file([path for path in files if path.name.endswith("-fnames.txt")])
    texts = {path.stem: path for path in files if path != names and path.suffix == ".txt"}
    for place, line in text_lines(names):
        name = line.strip()
        if name and name not in texts:
            raise UserError(f"{place}: there is no text {shown(name + '.txt')} in data; fetch the corpus again")
        if name:
            yield from bigbio_records(brat_documents([texts[name]]), "doc:{}".format)


FOLDER = "annotated_materials_syntheses"
SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    FOLDER: (
        Corpus(
            {
                split: (f"{FOLDER}/**/sfex-{name}-fnames.txt", f"{FOLDER}/**/data/*.txt", f"{FOLDER}/**/data/*.ann")
                for split, name in SPLITS.items()
            },
            read,
        ),
    )
}
