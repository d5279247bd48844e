"""What role a key of the config plays and which values it takes, written on its field."""

import enum
import operator
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, TypeVar, overload

Value = TypeVar("Value")


class Role(enum.Enum):
    """What a key decides."""

    LEARNT = "what is learnt"
    ANSWERED = "what is asked, answered or rated"
    BOTH = "what is learnt and what is answered"
    HOW_MUCH = "how much is asked; saved answers that are still asked for stay"
    HOW = "only how, where and when something is done, or how it is shown"


LEARNT, ANSWERED, BOTH, HOW_MUCH, HOW = Role


@dataclass(frozen=True)
class Setting:
    """Metadata of a key. Null `role`, `named` and `may_change` are those of its section, or follow from the role."""

    role: Role | None = None
    named: bool | None = None
    may_change: bool | None = None
    runs_or_sends: bool = False
    """Whether a value of it can make this machine run code that is neither ours nor of an installed package's defaults,
    or decides who is sent prompts, keys or results."""
    only_these: tuple[object, ...] = ()
    """Where only some values of a key that runs code can do so: those."""
    spends: bool = False
    """Whether it decides how many dollars may be spent, or what is thought to cost them."""
    written_to: bool = False
    """Whether it names a folder, maybe outside the run's own, that is written to."""
    unwritten_if_empty: bool = False
    """Whether it came later than runs that are to stay as they are: where it is empty it is in no config.yaml and in no
    digest."""
    path: bool = False
    """Whether it names local files, by paths that are made absolute before a run starts."""
    or_hub_id: bool = False
    """Whether what is no local path is an id on the Hugging Face hub."""
    choices: tuple[object, ...] = ()
    """All values that it takes; beside `least`, the words that may stand for a number. Of a list, of each element."""
    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float | None = None

    @property
    def in_name(self) -> bool:
        """Whether it is part of a run's default name where it is typed. No key is that decides nothing."""
        return self.role is not Role.HOW and self.named is not False

    @property
    def may_differ(self) -> bool:
        """Whether it may have another value when a run that was started is resumed."""
        return self.role in (Role.HOW, Role.HOW_MUCH) if self.may_change is None else self.may_change

    @property
    def bounds(self) -> list[tuple[str, float, Callable[[float, float], bool]]]:
        """The bounds of a number: words, limit, and whether (number, limit) is right."""
        known = (
            ("at least", self.least, operator.ge),
            ("above", self.above, operator.gt),
            ("below", self.below, operator.lt),
            ("at most", self.most, operator.le),
        )
        return [(words, limit, holds) for words, limit, holds in known if limit is not None]


@overload
def setting(default: Value, role: Role | None = None, **about: Any) -> Value: ...
@overload
def setting(*, role: Role | None = None, factory: Callable[[], Value], **about: Any) -> Value: ...
def setting(default: Any = None, role: Role | None = None, *, factory: Any = None, **about: Any) -> Any:
    """A field of a section: its default (or the `factory` of one) and the other fields of its Setting by name."""
    if role is not None and not isinstance(role, Role):
        raise TypeError(f"{role!r} is not a Role")
    metadata = {Setting: Setting(role, **about)}
    return field(metadata=metadata, **({"default": default} if factory is None else {"default_factory": factory}))


def setting_of(known: "Field[Any]") -> Setting:
    """The Setting of a field; an empty one where it says nothing."""
    found: Setting = known.metadata.get(Setting, Setting())
    return found
