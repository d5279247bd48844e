"""Choose science rows by the tasks, task families and domains that the config names."""

from collections.abc import Sequence
from typing import Any

from sciriff.config import MixConfig, nearest
from sciriff.run.user_error import UserError
from sciriff.tasks.catalogue import names as known_names


class ScienceFilter:
    """Filter by `mix.tasks`, `mix.families` and `mix.domains` that notes the names it sees, to find unknown ones."""

    def __init__(self, mix: MixConfig, held_out: Sequence[str]) -> None:
        """`held_out` are the names of the held-out tasks. UserError where one is chosen that the mix keeps out."""
        own = [name for name in mix.own_sources if mix.kind_of(name) == "science"]
        self._sources = "mix.sources.sciriff" if not own else "any science source"
        self._wanted = {"tasks": mix.tasks, "families": mix.families, "domains": mix.domains}
        self._seen: dict[str, set[str]] = {key: set() for key in self._wanted}
        if not mix.include_heldout:
            for name in sorted(set(mix.tasks or ()) & set(held_out)):
                raise UserError(f"mix.tasks: {name} is a held-out task; mix.include_heldout=true lets it in")

    def refusal(self, task: str, row: dict[str, Any], where: str) -> str | None:
        """Why a raw row of this task is left out, or None. UserError with its place if a filter's key is missing."""
        refusal = None
        for key, wanted in self._wanted.items():
            if wanted is None:
                continue
            has = [task] if key == "tasks" else _metadata(row, key, where)
            self._seen[key].update(has)
            if refusal is None and not set(has) & set(wanted):
                refusal = f"not of mix.{key}"
        return refusal

    def check_names(self) -> None:
        """UserError, with the nearest known name, for a name that no row has."""
        for key, wanted in self._wanted.items():
            for name in wanted or ():
                if name in self._seen[key]:
                    continue
                known = known_names()[key]
                if name in known:
                    raise UserError(f"mix.{key}: {self._sources} has no row of {name}")
                hint = nearest(name, known | self._seen[key])
                raise UserError(f"mix.{key}: {name} is known neither to SciRIFF nor to {self._sources}{hint}")


def _metadata(row: dict[str, Any], key: str, where: str) -> list[str]:
    """Family (one) or domains in a row's metadata."""
    name = {"families": "task_family", "domains": "domains"}[key]
    metadata = row.get("metadata")
    value = metadata.get(name) if isinstance(metadata, dict) else None
    values = [value] if key == "families" else value
    if not isinstance(values, list) or not values or not all(isinstance(item, str) for item in values):
        raise UserError(
            f"{where}: mix.{key} asks for the row's `metadata.{name}`, and it has none; choose by mix.tasks instead, "
            f"or leave mix.{key} out"
        )
    return values
