"""Make items and words comparable: case, blanks, numbers, punctuation, articles."""

import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sciriff.tasks.metrics.metric import WrongShape, harmonic

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def elements(value: Any) -> list[Any]:
    """What stands in a list; of a text its characters and of an object its keys, as the reference takes them."""
    if isinstance(value, list | str | dict):
        return list(value)
    raise WrongShape(f"expected a list, found {type(value).__name__}")


def flat_elements(value: Any) -> list[Any]:
    """As elements, with the lists inside replaced by what stands in them, at every depth."""
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
    """The texts that stand in a list, at every depth, joined on a blank. Raises WrongShape if one is not a text."""
    texts = flat_elements(value)
    if not all(isinstance(text, str) for text in texts):
        raise WrongShape("expected texts")
    return " ".join(texts)


def normal_item(item: Any) -> str:
    """One list item as a text to compare: trimmed and in lower case, a number as it prints (two decimals at most).

    A list inside a list keeps its case and blanks; None is the empty text. Raises WrongShape for an object.
    """
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
    """Words as SQuAD's metric compares them: lower case, ASCII punctuation deleted, then a, an and the left out."""
    return ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split()


def overlap(prediction: Iterable[str], reference: Iterable[str]) -> int:
    """How many words two texts share, each as often as it stands in both."""
    return (Counter(prediction) & Counter(reference)).total()


def token_f1(prediction: list[str], reference: list[str]) -> float:
    """F1 of the words of two texts; 0 where either has none."""
    shared = overlap(prediction, reference)
    return harmonic(shared / len(prediction), shared / len(reference)) if shared else 0.0
