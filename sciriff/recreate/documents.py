"""Documents that rows are made of, so that a split can keep them together and a card can say what is shared."""

import hashlib
import re

from sciriff.recreate.corpus import Record
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

NO_LETTERS = re.compile(r"[\W_]+")
LONG = 200
"""Characters from which a text field is a document of its own: shorter ones, such as a label, recur by chance."""
ASCII = bytes(range(128))
OTHER_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())
FEW = 50
"""Other characters than ASCII, up to which it is ten times faster to remove each than to look at all of a text."""


def documents_of(source: Record, fields: Record) -> list[str]:
    """Return the keys of a row's documents: those that its source names, and a digest of each long text field. The
    digest is of letters and digits alone, so that other white space or markup makes no other document."""
    named = source.get("_documents", [])
    if not isinstance(named, list) or not all(isinstance(key, str) for key in named):
        raise UserError(f"_documents={shown(named)} must be a list of texts, each such as pmid:8528200")
    texts = [value for name, value in sorted(fields.items()) if isinstance(value, str) and len(value) >= LONG]
    return sorted({*named, *map(_digest, texts)})


def _digest(text: str) -> str:
    letters = text.lower().encode(errors="replace").translate(None, OTHER_ASCII)
    if not letters.isascii():
        others = sorted(set(letters.translate(None, ASCII).decode()))
        if len(others) > FEW:
            letters = NO_LETTERS.sub("", letters.decode()).encode()
        else:
            for character in others:
                if not character.isalnum():
                    letters = letters.replace(character.encode(), b"")
    return "text:" + hashlib.sha256(letters).hexdigest()[:20]
