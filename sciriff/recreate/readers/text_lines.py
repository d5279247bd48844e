"""Lines of a text file with their places, so that a reader can say where something is wrong."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

from sciriff.run.user_error import UserError


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Stream (place, line) of a UTF-8 file; a place is `corpus.txt:17`. Only `\\n` and `\\r\\n` end a line: other
    characters that Python's `splitlines` cuts at occur within the texts of corpora."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}:{number}"
            yield place, utf8(place, line).rstrip("\r\n")


def utf8(place: str, content: bytes) -> str:
    """Decode the content of a file or line, less a byte order mark; UserError names the place if it is not UTF-8."""
    try:
        return content.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 (byte {error.start}: {error.reason}); convert the file to UTF-8") from None
