from pathlib import Path

import pytest

from sciriff.recreate.readers.conll import conll_sentences
from sciriff.run.user_error import UserError

TABS = "Black\tB-CHEBI\nsalt\tI-CHEBI\n\n\n\xa0\tO\n"


@pytest.mark.parametrize(
    "content",
    [
        TABS,
        TABS.replace("\n", "\r\n"),
        TABS.replace("\t", " "),
        TABS.replace("\t", "\tNN\t_\t"),
        "-DOCSTART- -X- O O\n\n" + TABS.rstrip("\n"),
    ],
)
def test_sentences_of_tokens_and_tags(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(content.encode())
    sentences = [(sentence.tokens, sentence.tags) for sentence in conll_sentences(path)]
    assert sentences == [(("Black", "salt"), ("B-CHEBI", "I-CHEBI")), (("\xa0",), ("O",))]


@pytest.mark.parametrize("line", ["salt", "salt\t", "\tO"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"Black\tO\n{line}\n")
    with pytest.raises(UserError, match=r"x\.tsv:2: .*token and its tag"):
        list(conll_sentences(path))
