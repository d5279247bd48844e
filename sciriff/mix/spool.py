"""Conversations on disk while a mix is built, so that memory holds a name, a digest and a place of each."""

import json
from os import SEEK_END
from pathlib import Path
from sys import intern

from sciriff.mix.recipe import Candidate, text_digest
from sciriff.records import Conversation, Message, to_json


class Spool:
    """Conversations in a temporary file, found again by where they begin in it. Removed at the end of the `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Spool":
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._path.unlink()

    def add(self, conversation: Conversation) -> Candidate:
        place = self._file.seek(0, SEEK_END)
        self._file.write(to_json(conversation).encode() + b"\n")
        return Candidate(intern(conversation.dataset), conversation.id, text_digest(conversation.messages), place)

    def read(self, candidate: Candidate) -> Conversation:
        self._file.seek(candidate.place)
        row = json.loads(self._file.readline())
        messages = tuple(Message(message["role"], message["content"]) for message in row["messages"])
        return Conversation(row["dataset"], row["id"], messages)
