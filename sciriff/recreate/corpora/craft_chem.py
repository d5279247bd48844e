"""CRAFT-Chem: sentences of 67 full texts with tags of chemicals."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.conll import conll_sentences
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

TAGS = {"O": 0, "B-CHEBI": 1, "I-CHEBI": 2}


def read(split: str, files: list[Path]) -> Iterator[Record]:
    """Yield a record a sentence. The file says nowhere where a paper begins: its title is the sentence before the
    heading "Abstract"."""
    sentences = list(conll_sentences(only_file(files)))
    paper = 0
    for number, sentence in enumerate(sentences):
        if number + 1 < len(sentences) and sentences[number + 1].tokens == ("Abstract",):
            paper += 1
        unknown = [tag for tag in sentence.tags if tag not in TAGS]
        if unknown:
            raise UserError(f"{sentence.place}: this sentence has the tag {shown(unknown[0])}, not {', '.join(TAGS)}")
        yield {
            "tokens": list(sentence.tokens),
            "ner_tags": [TAGS[tag] for tag in sentence.tags],
            "_documents": [f"doc:craft/{split}-{paper}"],
        }


SPLITS = {"train": "train", "validation": "devel", "test": "test"}

CORPORA = {
    "ghadeermobasher/CRAFT-Chem": (
        Corpus({split: (f"mtl_bio/CRAFT-chem-IOB/{name}.tsv",) for split, name in SPLITS.items()}, read),
    )
}
