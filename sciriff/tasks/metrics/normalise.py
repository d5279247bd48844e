"""Normalise items and words for comparison: case, whitespace, numbers, punctuation, articles."""

import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sciriff.tasks.metrics.metric import WrongShape, harmonic

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def elements(value: Any) -> list[Any]:
    """Elements of a list, characters of a string, keys of an object, as in the reference code. WrongShape otherwise."""
    if isinstance(value, list | str | dict):
        return list(value)
    raise WrongShape(f"expected a list, found {type(value).__name__}")


def flat_elements(value: Any) -> list[Any]:
    """`elements` with nested lists flattened, at any depth."""
    flat: list[Any] = []
    open_lists = [iter(elements(value))]
    while open_lists:
        for element in open_lists[-1]:
            if isinstance(element, list):
                open_lists.append(iter(element))
                break
            flat.append(element)
        else:
            open_lists.pop()
    return flat


def words_joined(value: Any) -> str:
    """Join the strings of a list, nested at any depth, with spaces. Raises WrongShape if an element is no string."""
    texts = flat_elements(value)
    if not all(isinstance(text, str) for text in texts):
        raise WrongShape("expected texts")
    return " ".join(texts)


def normal_item(item: Any) -> str:
    """Normalise one list item to a string: stripped and lower case, a number as printed with at most two decimals. A
    nested list keeps its case and whitespace; None becomes the empty string. Raises WrongShape for an object."""
    if item is None:
        return ""
    if isinstance(item, str):
        return item.strip().lower()
    if isinstance(item, int):  # bool is one, and prints as True
        return str(item)
    if isinstance(item, float):
        return str(round(item, 2))
    if isinstance(item, list):
        return words_joined(item)
    raise WrongShape(f"expected a list item, found {type(item).__name__}")


def tokens(text: str) -> list[str]:
    """Words as in SQuAD's metric: lower case, without ASCII punctuation and the articles a, an, the."""
    return ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split()


def overlap(prediction: Iterable[str], reference: Iterable[str]) -> int:
    """Number of words that two texts share, counted with multiplicity."""
    return (Counter(prediction) & Counter(reference)).total()


def token_f1(prediction: list[str], reference: list[str]) -> float:
    """F1 of the shared words of two texts; 0 if either has none."""
    shared = overlap(prediction, reference)
    return harmonic(shared / len(prediction), shared / len(reference)) if shared else 0.0
