from pathlib import Path

import pytest

from sciriff.recreate.readers.annotated_text import AnnotatedText, Passage
from sciriff.recreate.readers.pubtator import pubtator_documents
from sciriff.run.user_error import UserError

TWO = """\
11|t|Talp2 in | mice
11|a|Talp2 binds\tNarf.
11\t0\t5\tTalp2\tGene\t901
11\t27\t31\tNarf\tGene
11\tBinds\t901\t902\tNovel

12|t|Bone and skin fever
12|a|
12\t0\t19\tBone and skin fever\tDisease\tD1|D2\tBone fever|skin fever
"""


def read(path: Path, content: str) -> list[AnnotatedText]:
    path.write_bytes(content.encode())
    return list(pubtator_documents(path))


@pytest.mark.parametrize(
    "content", [TWO, TWO.replace("\n", "\r\n"), "\ufeff" + TWO, TWO.replace("\n\n", "\n"), TWO.rstrip()]
)
def test_documents_have_passages_and_mentions_but_no_relations(tmp_path: Path, content: str) -> None:
    first, second = read(tmp_path / "x.PubTator", content)
    assert first.name == "11"
    assert first.passages == (Passage("title", "Talp2 in | mice", 0), Passage("abstract", "Talp2 binds\tNarf.", 16))
    assert [(entity.type, entity.pieces, entity.spans) for entity in first.entities] == [
        ("Gene", ("Talp2",), ((0, 5),)),
        ("Gene", ("Narf",), ((27, 31),)),
    ]
    assert second.passages[1].text == ""
    assert second.entities[0].parts == ("Bone fever", "skin fever")


def test_characters_at_which_python_splits_lines_stay_in_the_text(tmp_path: Path) -> None:
    (document,) = read(tmp_path / "x.PubTator", "1|t|a\u2028b\x0bc\x85d\n1|a|\x00\n")
    assert [passage.text for passage in document.passages] == ["a\u2028b\x0bc\x85d", "\x00"]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("1|t|a\n1|a|b\n1\t0\tone\tx\tGene\n", 3, ["start, end"]),
        ("1|t|a\n1|a|b\n1\t0\t1\n", 3, ["no mention"]),
        ("1|t|a\n1|a|b\n2\t0\t1\tx\tGene\n", 3, ['"2"', '"1"']),
        ("1|t|a\n2|a|b\n", 2, ['"2"', '"1"']),
        ("1\t0\t1\tx\tGene\n", 1, ["title"]),
        ("{}\n", 1, ["title"]),
        ("1|t|a\n\x1b[31m" + "x" * 500 + "\n", 2, ["␛", "…"]),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: str, line: int, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path / "x.PubTator", content)
    message = str(error.value)
    assert f"x.PubTator:{line}: " in message
    assert all(word in message for word in words)
    assert message.isprintable()
    assert len(message) < 400 + len(str(tmp_path))


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.PubTator"
    path.write_bytes("1|t|a\n1|a|naïve".encode("latin-1"))
    with pytest.raises(UserError, match=r"x\.PubTator:2: not UTF-8"):
        list(pubtator_documents(path))
