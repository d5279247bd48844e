"""Compare two texts by the characters that they have in common."""


def similarity(one: str, other: str) -> int:
    """Whole percent of characters that two texts share in the same order: the `ratio` of thefuzz and rapidfuzz.

    It is twice the length of their longest common subsequence over the sum of their lengths. The length is counted
    with one bit for each character of the shorter text (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
    """
    shorter, longer = sorted((one, other), key=len)
    places: dict[str, int] = {}
    for number, character in enumerate(shorter):
        places[character] = places.get(character, 0) | 1 << number
    ones = row = (1 << len(shorter)) - 1
    for character in longer:
        matches = row & places.get(character, 0)
        row = (row + matches | row - matches) & ones
    common = len(shorter) - row.bit_count()
    total = len(one) + len(other)
    return round((1 - (total - 2 * common) / total) * 100) if total else 100
