"""Every key of the config with its role, what follows from the roles, and the key that a misspelt one may mean."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin

from sciriff.config.checks import check
from sciriff.config.mix import MixSourceConfig, one_slip
from sciriff.config.roles import Setting, setting_of
from sciriff.config.root import Config
from sciriff.run.nearest import nearest

KEYS: dict[str, Setting] = {}
"""Key, such as `train.learning_rate`, or section -> its setting. A field without a role has that of its section."""
DEFAULTS: dict[str, Any] = {}
"""Key -> the value that it has where no file of conf/ says otherwise."""
_HINTS: dict[str, Any] = {}
_INSIDE: dict[str, list[str]] = defaultdict(list)
"""Section -> its keys; "" is the whole config."""
TABLES: dict[str, type] = {"mix.sources": MixSourceConfig}
"""Section to which people add sections by names of their own -> what those are."""


def _collect(kind: type, section: str, of_section: Setting) -> None:
    for known in fields(kind):
        key = f"{section}.{known.name}" if section else known.name
        own = setting_of(known)
        unsaid = [name for name in ("role", "named", "may_change") if getattr(own, name) is None]
        KEYS[key] = replace(own, **{name: getattr(of_section, name) for name in unsaid})
        DEFAULTS[key] = known.default if known.default_factory is NO_DEFAULT else known.default_factory()
        _HINTS[key] = known.type
        _INSIDE[section].append(key)
        for inner in (known.type, *get_args(known.type)):  # of an optional section, too
            if is_dataclass(inner) and isinstance(inner, type):
                _collect(inner, key, KEYS[key])
        if key in TABLES:
            for name, part in DEFAULTS[key].items():
                _add_to_table(key, name, type(part))


def _add_to_table(table: str, name: str, kind: type) -> None:
    key = f"{table}.{name}"
    KEYS[key] = KEYS[table]
    DEFAULTS[key] = DEFAULTS[table].get(name)
    _INSIDE[table].append(key)
    _collect(kind, key, KEYS[key])


_collect(Config, "", Setting())


def setting_at(key: str) -> Setting:
    """The setting of a key, which may be one of a section that somebody added to a table."""
    for table in TABLES:
        if key not in KEYS and key.startswith(f"{table}."):
            _, _, rest = key.removeprefix(f"{table}.").partition(".")
            return _OF_TABLE[table].get(rest.partition(".")[0], KEYS[table])
    return KEYS[key]


def _of_table(table: str) -> dict[str, Setting]:
    """Key of a section of this table -> its setting."""
    ours = f"{table}.{next(name for name, part in DEFAULTS[table].items() if type(part) is TABLES[table])}."
    return {key.removeprefix(ours): setting for key, setting in KEYS.items() if key.startswith(ours)}


_OF_TABLE = {table: _of_table(table) for table in TABLES}


def keys_of(config: Config) -> Iterator[tuple[str, Setting, Any, str]]:
    """Yield (key, setting, the part of the config that has it, its name there), of added sections, too."""

    def inside(part: Any, section: str) -> Iterator[tuple[str, Setting, Any, str]]:
        for known in fields(part):
            key, value = f"{section}{known.name}", getattr(part, known.name)
            if key in TABLES:
                for name in value:
                    yield from inside(value[name], f"{key}.{name}.")
            elif is_dataclass(value):
                yield from inside(value, f"{key}.")
            else:
                yield key, setting_at(key), part, known.name

    return inside(config, "")


def keys_that(holds: Callable[[Setting], bool], section: str = "") -> list[str]:
    """The keys for whose setting `holds` is true. A section stands for its keys where it is true for all of them."""
    found = []
    for key in _INSIDE[section]:
        if key not in _INSIDE:
            found += [key] if holds(KEYS[key]) else []
        else:
            inside = keys_that(holds, key)
            found += [key] if inside == _INSIDE[key] else inside
    return found


FREE_TO_CHANGE = tuple(keys_that(lambda setting: setting.may_differ))
"""Keys that may have other values when a run that was started is resumed."""
UNNAMED = tuple(keys_that(lambda setting: not setting.in_name))
"""Keys that make no other run, so that they are not part of its default name."""


def check_values(values: Mapping[str, Any], section: str = "") -> None:
    """UserError for the first value that its key does not take."""
    for name, value in values.items():
        key = f"{section}.{name}" if section else name
        if key in _INSIDE or section in TABLES:
            check_values(value or {}, key)
            continue
        if isinstance(value, dict):
            for inner, part in value.items():
                check(f"{key}.{inner}", part, setting_at(key))
        else:
            for part in value if isinstance(value, list) else [value]:
                check(key, part, setting_at(key))


def optional_sections() -> list[str]:
    """Sections that may be null."""
    return [key for key, hint in _HINTS.items() if any(map(is_dataclass, get_args(hint)))]


MOST_SUGGESTED = 3
"""Suggestions that are worth naming; instead of more, all keys are listed."""


def unknown_key(key: str) -> str:
    """Message on a key that the schema does not have, with the nearest one, first of the same section, or all keys."""
    return f"{key} is not a key of the config{_nearest_key(key)}"


def _nearest_key(key: str) -> str:
    for table in TABLES:
        if key.startswith(f"{table}.") and (hint := _nearest_in_table(key, table)):
            return hint
        section, _, name = table.rpartition(".")
        word, _, rest = key.removeprefix(f"{section}.").partition(".")
        if key.startswith(f"{section}.") and rest and one_slip(word, name):
            return f"; did you mean {f'{table}.{rest}'!r}?"
    tables = ("general.limit", *(known for known, hint in _HINTS.items() if get_origin(hint) is dict))
    tables = tuple(known for known in tables if known not in TABLES)
    if any(key.startswith(f"{known}.") for known in tables):
        return f"; with a plus it is added: +{key}=..."
    keys = [*KEYS, "experiment"]
    section, _, word = key.rpartition(".")
    if section and section not in keys:
        return "".join(f"; did you mean {name!r}?" for name in difflib.get_close_matches(section, keys, 1, cutoff=0.5))
    below = [known for known in keys if not section or known.startswith(f"{section}.")]
    beside = {_last(known): known for known in below if known.rpartition(".")[0] == section}
    deeper = difflib.get_close_matches(word, map(_last, below), 1, cutoff=0.75)
    # a key beside it comes first, unless one elsewhere is all but the same word
    close = (
        [] if difflib.get_close_matches(word, deeper, cutoff=0.9) else difflib.get_close_matches(word, beside, 1, 0.5)
    )
    close = [beside[name] for name in close]
    close = close or sorted(beside[name] for name in beside if len(word) > 1 and _initials(name).endswith(word))
    close = close or [known for known in below if _last(known) in deeper]
    if 0 < len(close) <= MOST_SUGGESTED:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    if section and beside:
        return f"; {section} has {', '.join(sorted(beside))}"
    return f"; there is {', '.join(sorted(known for known in keys if '.' not in known))}"


def _nearest_in_table(key: str, table: str) -> str | None:
    """The hint for a key below a table; None for one below a section of it that is always there."""
    name, _, rest = key.removeprefix(f"{table}.").partition(".")
    word, *below = rest.split(".")
    of_table = _OF_TABLE[table]
    if name in DEFAULTS[table]:
        if word in ("columns", "filter") and below and word in of_table:
            return f"; with a plus it is added: +{key}=..."
        return None
    if word and word not in of_table:
        return f": a section of {table} has no {word}{nearest(word, (one for one in of_table if '.' not in one))}"
    if meant := next((known for known in DEFAULTS[table] if one_slip(name, known)), None):
        return f"; did you mean {f'{table}.{meant}.{rest}'.rstrip('.')!r}?"
    return f"; a source of your own comes with a plus: +{table}.{name}.{rest or 'path'}=..."


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_"))
