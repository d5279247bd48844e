"""Estimate tokens where only the provider has the model's tokenizer, to truncate long prompts."""

from typing import Any

from sciriff.models.api.limits import BYTES_PER_TOKEN

ENCODING = ("utf-8", "surrogatepass")
FIRST = b"\1"
"""Precedes the bytes of a piece in its id, so that no leading 0 is lost."""


class EstimatedTokens:
    """Tokenizer, as far as prompts.py needs one, whose tokens are pieces of at most 3 bytes, never within a character.
    English has about 4.3 bytes a token, so a prompt that fits by this measure fits."""

    is_fast = True  # as a tokenizer with `offset_mapping`

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        """`input_ids` and `offset_mapping`, [first, last) of each token in characters."""
        spans = pieces(text)
        ids = [int.from_bytes(FIRST + text[start:end].encode(*ENCODING)) for start, end in spans]
        return {"input_ids": ids, "offset_mapping": spans}

    def decode(self, ids: list[int], **options: Any) -> str:
        return b"".join(id.to_bytes(5).lstrip(b"\0")[len(FIRST) :] for id in ids).decode(*ENCODING)


def pieces(text: str) -> list[tuple[int, int]]:
    """[first, last) of the pieces of a text; a character of more bytes is one by itself."""
    if text.isascii():
        return [(at, min(at + BYTES_PER_TOKEN, len(text))) for at in range(0, len(text), BYTES_PER_TOKEN)]
    spans: list[tuple[int, int]] = []
    start = size = 0
    for at, character in enumerate(text):
        more = len(character.encode(*ENCODING))
        if at > start and size + more > BYTES_PER_TOKEN:
            spans.append((start, at))
            start, size = at, 0
        size += more
    return [*spans, (start, len(text))]
