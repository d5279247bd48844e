"""Keep conversations on disk while a mix is built; memory holds a name, a digest and a place of each."""

from bisect import bisect_right
from pathlib import Path
from sys import intern

from sciriff.data.records import Conversation
from sciriff.mix.recipe import Candidate, text_digest
from sciriff.run.json_lines import Message

BEFORE_THOUGHT = "\x01"


class Spool:
    """Conversations in a temporary file, addressed by offset. The `with` block removes the file.

    A row is its length in bytes, a newline, and its strings joined by NUL characters, which no text of a mix has: a
    third of JSON's time. The thought of a message follows its role, after a control character that no role has.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._surplus: dict[int, int] = {}
        self._parts: list[tuple[int, str]] = []
        """(place of the first row, name) of what was added for each source."""

    def __enter__(self) -> "Spool":
        self._file = self._path.open("wb")
        self._reader = self._path.open("rb")
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self._file.close()
        self._path.unlink()

    def begin(self, source: str) -> None:
        """Note that the rows of this source come next."""
        self._parts.append((self._size, source))

    def origin(self, candidate: Candidate) -> str:
        """The source of a row."""
        return self._parts[bisect_right(self._parts, candidate.place, key=lambda part: part[0]) - 1][1]

    def add(self, conversation: Conversation) -> Candidate:
        strings = [conversation.dataset, conversation.id]
        for message in conversation.messages:
            thought = "" if message.thought is None else f"{BEFORE_THOUGHT}{message.thought}"
            strings += (message.role + thought, message.content)
        row = "\0".join(strings).encode()
        place = self._size
        self._size += self._file.write(b"%d\n%b" % (len(row), row))
        return Candidate(intern(conversation.dataset), conversation.id, text_digest(conversation.messages), place)

    def shorten(self, candidate: Candidate, surplus: int) -> None:
        """Drop the last `surplus` messages of the row from now on."""
        self._surplus[candidate.place] = surplus

    def is_short(self, candidate: Candidate) -> bool:
        return candidate.place in self._surplus

    def read(self, candidate: Candidate) -> Conversation:
        self._file.flush()
        self._reader.seek(candidate.place)
        length = int(self._reader.readline())
        dataset, row_id, *strings = self._reader.read(length).decode().split("\0")
        messages = [_message(role, content) for role, content in zip(strings[::2], strings[1::2], strict=True)]
        if surplus := self._surplus.get(candidate.place):
            del messages[-surplus:]
        return Conversation(dataset, row_id, tuple(messages))


def _message(role: str, content: str) -> Message:
    role, mark, thought = role.partition(BEFORE_THOUGHT)
    return Message(role, content, thought if mark else None)
