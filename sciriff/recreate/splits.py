"""Cut the rows of a task's source splits into train, validation and test.

The arithmetic is SciRIFF's: source splits stay if all three are there. Of two, one of them train, the other becomes
test, and as many rows, but at most a fifth of train, are cut from train for validation. One split is cut into three
fifths, a fifth and a fifth. Our own rule, or the pins, decide which rows are cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sciriff.recreate.instance_id import rank
from sciriff.recreate.template_file import SPLITS
from sciriff.run.user_error import UserError

SHARE = 0.2


@dataclass
class Cut:
    """Result: record id (without a template) -> split, and the ids left out by reason."""

    split_of: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)


def sizes(counts: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Return the new splits that are cut: name -> (source split it is cut from, rows). `counts` has the rows of each
    source split that is there. UserError for validation and test without train."""
    there = [split for split in SPLITS if split in counts]
    if len(there) == 3 or not there:
        return {}
    if len(there) == 1:
        fifth = round(SHARE * counts[there[0]])
        return {"test": (there[0], fifth), "validation": (there[0], fifth)}
    if "train" not in there:
        raise UserError(
            "the source has validation and test but no train, and three splits cannot be cut from these: use "
            "recreate.split=source, or standardize_splits: false"
        )
    (other,) = (split for split in there if split != "train")
    return {"validation": ("train", min(counts[other], round(SHARE * counts["train"])))}


def source_name(split: str, there: Iterable[str]) -> str:
    """Return the split that the rows of a source split belong to before any are cut."""
    present = set(there)
    if len(present) == 1:
        return "train"
    if len(present) == 2 and "train" in present and split != "train":
        return "test"
    return split


def cut(
    ids: Mapping[str, list[str]],
    task: str,
    seed: int,
    pinned: Mapping[str, str],
    documents: Mapping[str, list[str]] | None = None,
    standardize: bool = True,
) -> Cut:
    """Cut the records `ids` (source split -> ids) of a task, or leave the splits of the source (`standardize` false).
    `pinned` ids have their split; a split with pinned ids has these alone. With `documents` (id -> its documents)
    records that share one stay together: what is cut from train is whole groups, and a record of train that shares a
    document with another split's is left out."""
    result = Cut()
    free: dict[str, list[str]] = {}
    full = set(pinned.values())
    for split, members in ids.items():
        free[split] = [one for one in members if one not in pinned]
        result.split_of |= {one: pinned[one] for one in members if one in pinned}
    for split, members in free.items():
        result.split_of |= dict.fromkeys(members, source_name(split, ids) if standardize else split)
    new_sizes = sizes({split: len(members) for split, members in ids.items()}) if standardize else {}
    for new, (source, rows) in new_sizes.items():
        if new not in full:
            drawn = _drawn(free[source], rows, f"{task}:{new}", seed, documents)
            result.split_of |= dict.fromkeys(drawn, new)
            taken = set(drawn)
            free[source] = [one for one in free[source] if one not in taken]
    if full:
        unpinned = [one for one, split in result.split_of.items() if split in full and one not in pinned]
        _leave_out(result, unpinned, "not among the pinned rows of its split")
    if documents is not None:
        evaluation = {
            document for one, split in result.split_of.items() if split != "train" for document in documents[one]
        }
        shared = [
            one
            for one, split in result.split_of.items()
            if split == "train" and not evaluation.isdisjoint(documents[one])
        ]
        _leave_out(result, shared, "has a document of the task's own evaluation rows")
    return result


def _leave_out(result: Cut, ids: list[str], reason: str) -> None:
    for one in ids:
        del result.split_of[one]
    if ids:
        result.left_out[reason] = ids


def _drawn(ids: list[str], rows: int, purpose: str, seed: int, documents: Mapping[str, list[str]] | None) -> list[str]:
    """Draw `rows` of the ids. With documents, draw whole groups until there are at least as many, as far as a group
    that goes over this by more than half of `rows` is not needed for it."""
    if documents is None:
        return sorted(ids, key=lambda one: rank(seed, purpose, one))[:rows]
    drawn: list[str] = []
    for group in sorted(_groups(ids, documents), key=lambda group: min(rank(seed, purpose, one) for one in group)):
        if len(drawn) >= rows:
            break
        if len(drawn) + len(group) <= max(1.5 * rows, 1):
            drawn += group
    return drawn


def _groups(ids: list[str], documents: Mapping[str, list[str]]) -> list[list[str]]:
    """Group ids that are connected by shared documents."""
    leader = {one: one for one in ids}

    def find(one: str) -> str:
        while leader[one] != one:
            leader[one] = one = leader[leader[one]]
        return one

    first_with: dict[str, str] = {}
    for one in ids:
        for document in documents[one]:
            leader[find(one)] = find(first_with.setdefault(document, one))
    groups: dict[str, list[str]] = {}
    for one in ids:
        groups.setdefault(find(one), []).append(one)
    return list(groups.values())
