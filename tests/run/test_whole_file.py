"""Files on a disk that is full: one line that names the file, and what was there before is as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from largest_file import largest_file

from sciriff.data.records import Instance
from sciriff.run.json_lines import append_jsonl, read_jsonl, write_jsonl
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import whole, write_whole


def instance(number: int) -> Instance:
    return Instance("task", f"instance {number}", "x" * 900, "reference")


@pytest.fixture(params=["File too large", "No space left on device"])
def full(
    request: pytest.FixtureRequest, tmp_path: Path, small_disk: Callable[[str], Path]
) -> Iterator[tuple[Path, str]]:
    """A folder in which 16 kB can be written, and what the system says to more."""
    if request.param == "File too large":
        with largest_file(16_384):
            yield tmp_path, request.param
    else:
        yield small_disk("16k"), request.param


def test_rows_are_added_whole_or_not_at_all(full: tuple[Path, str]) -> None:
    folder, why = full
    path, written = folder / "rows.jsonl", 0
    with pytest.raises(OSError) as error:
        while written < 100:
            append_jsonl(path, instance(written))
            written += 1
    assert str(error.value) == (
        f"{path} could not be written ({why}); what was there before is kept, and the same command resumes from there"
    )
    assert written > 5
    assert list(read_jsonl(path, Instance)) == [instance(number) for number in range(written)]


def test_a_file_is_replaced_whole_or_not_at_all(full: tuple[Path, str]) -> None:
    folder, why = full
    path = folder / "rows.jsonl"
    write_jsonl(path, [instance(0)])
    before = path.read_bytes()
    with pytest.raises(OSError, match=rf"rows\.jsonl could not be written \({why}\); what was there before is kept"):
        write_jsonl(path, map(instance, range(100)))
    assert path.read_bytes() == before
    assert not path.with_name("rows.jsonl.partial").exists()
    write_jsonl(path, map(instance, range(5)))
    assert len(path.read_text().splitlines()) == 5


def test_what_else_goes_wrong_is_not_called_a_full_disk(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "file") as file:
        file.write("new")
        1 / 0  # noqa: B018
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(FileNotFoundError, match="nowhere"), whole(tmp_path / "file"):
        (tmp_path / "nowhere").read_text()
    with pytest.raises(UserError, match=r"file/inner/x cannot be written: .*file/inner is a file, or lies below one"):
        write_whole(tmp_path / "file" / "inner" / "x", json.dumps([]))


@pytest.mark.shows("R6")
def test_a_link_under_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("kept")
    (tmp_path / "page.html.partial").symlink_to(mine)
    write_whole(tmp_path / "page.html", "new")
    assert (mine.read_text(), (tmp_path / "page.html").read_text()) == ("kept", "new")
    (tmp_path / "page.html").unlink()
    (tmp_path / "page.html").symlink_to(mine)
    write_whole(tmp_path / "page.html", "newer")
    assert mine.read_text() == "kept" and not (tmp_path / "page.html").is_symlink()
