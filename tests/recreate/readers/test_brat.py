import zipfile
from pathlib import Path

import pytest

from sciriff.recreate.readers.annotated_text import Entity
from sciriff.recreate.readers.brat import brat_archive, brat_documents
from sciriff.run.user_error import UserError

TEXT = "Salt and black salt were mixed.\nThen heated.\n"
ANNOTATIONS = """\
T1\tMaterial 0 4\tSalt
T2\tMaterial 9 14;15 19\tblack salt
T3\tOperation 25 30\tmixed
E1\tOperation:T3 Recipe:T1 Recipe2:T2
R1\tSame Arg1:T1 Arg2:T2
A1\tStart E1
N1\tReference T1 CHEBI:1\tsalt
*\tEquiv T1 T2
#1\tNote T1\thm
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_and_its_annotations(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.b.txt"
    path.write_bytes(TEXT.replace("\n", end).encode())
    path.with_suffix(".ann").write_bytes(ANNOTATIONS.replace("\n", end).encode())
    (document,) = brat_documents([path.with_suffix(".ann"), path])
    assert document.name == "a.b"
    assert [passage.text for passage in document.passages] == [TEXT]
    assert document.entities == (
        Entity("T1", "Material", ("Salt",), ((0, 4),)),
        Entity("T2", "Material", ("black", "salt"), ((9, 14), (15, 19))),
    )
    (event,) = document.events
    assert (event.type, event.trigger.pieces) == ("Operation", ("mixed",))
    assert event.arguments == (("Recipe", "T1"), ("Recipe2", "T2"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("T4\tMaterial 0 4", ["T1<tab>"]),
        ("T4\tMaterial 0-4\tSalt", ["T1<tab>"]),
        ("T4\tMaterial\tSalt", ["T1<tab>"]),
        ("E2\tOperation", ["E1<tab>"]),
        ("E2", ["E1<tab>"]),
        ("E2\tOperation:T9", ["E2", "T9"]),
        ("Q1 Salt", ["begins with"]),
    ],
)
def test_a_broken_annotation_is_named(tmp_path: Path, line: str, words: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    path.with_suffix(".ann").write_text(ANNOTATIONS + line + "\n")
    with pytest.raises(UserError) as error:
        list(brat_documents([path]))
    assert "a.ann:10: " in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_a_text_without_annotations_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(UserError, match=r"a\.txt: .*a\.ann"):
        list(brat_documents([tmp_path / "a.txt"]))


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_an_archive_is_read_by_name_and_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {}
    for name in ("x/Train/b/2", "x/Train/a/9", "x/Test/1", "../../Train/escaped", "/Train/absolute", "x/Train/.hidden"):
        members |= {f"{name}.txt": name, f"{name}.ann": "T1\tDrug 0 1\tx\n"}
    path = archive(tmp_path / "corpus.zip", {**members, "x/Train/notes.md": "", "x/Train/": ""})
    monkeypatch.chdir(tmp_path)
    documents = list(brat_archive(path, "Train"))
    assert [document.name for document in documents] == ["escaped", "absolute", "9", "2"]
    assert [document.passages[0].text for document in documents][2] == "x/Train/a/9"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_wrong_with_an_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1\.zip: has no .*a\.ann"):
        list(brat_archive(archive(tmp_path / "1.zip", {"Train/a.txt": "x"}), "Train"))
    with pytest.raises(UserError, match=r"2\.zip, .*Train/a\.ann.:1: "):
        list(brat_archive(archive(tmp_path / "2.zip", {"Train/a.txt": "x", "Train/a.ann": "T1"}), "Train"))
    with pytest.raises(UserError, match=r"3\.zip: .* unpack to 70,000,000 bytes"):
        list(brat_archive(archive(tmp_path / "3.zip", {"Train/a.txt": " " * 70_000_000, "Train/a.ann": ""}), "Train"))
    (tmp_path / "4.zip").write_bytes((tmp_path / "2.zip").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"4\.zip: damaged"):
        list(brat_archive(tmp_path / "4.zip", "Train"))
    content = bytearray((tmp_path / "2.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag that says a member is encrypted
    (tmp_path / "5.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"5\.zip: .*encrypted"):
        list(brat_archive(tmp_path / "5.zip", "Train"))
