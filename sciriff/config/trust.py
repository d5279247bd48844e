"""Which keys of a run folder's config a stage takes that somebody started by hand on it.

A folder may come from a stranger. The driver composes the config itself and tells the stages that it starts the digest
of what it wrote. Anybody else takes keys that run code, send data or write elsewhere from the command line alone.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sciriff.config.files import content_of, from_plain, parsed
from sciriff.config.keys import DEFAULTS, KEYS, keys_that, unknown_key
from sciriff.config.known_hosts import file, is_known
from sciriff.config.places import default_cache
from sciriff.config.plain_yaml import plain_values
from sciriff.config.root import Config
from sciriff.config.server import ServerConfig
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

DIGEST = "SCIRIFF_CONFIG"
"""Environment variable of the driver's children: digest of the config.yaml that the driver wrote."""
TRUST = "--trust"
USAGE = f"RUN_DIR [{TRUST}] [KEY=VALUE ...]"
GUARDED = tuple(key for key, setting in KEYS.items() if setting.runs_or_sends or setting.written_to)
"""Keys that a folder of unknown origin does not decide."""
SERVERS = ("engine", "judge")
SERVER_KEYS = ("base_url", "api_key_env", "via")
ONLY_ONLINE = ("log.tracker", "log.project", "log.entity")
"""Keys that send nothing unless log.mode=online, which is guarded, too."""
LOCAL_DEFAULT = "http://localhost:8000/v1"
"""The address of engine=local and judge=local, which asks this machine alone."""
LONGEST = 80
"""Characters of a value that a message shows."""


def digest_of(content: bytes) -> str:
    """Digest of a config.yaml, for DIGEST."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Frozen:
    """The config of a run folder as far as it is taken."""

    config: Config
    trusted: bool = False
    ignored: tuple[str, ...] = ()
    """`KEY=VALUE` of each key that was not taken."""
    unknown_servers: tuple[str, ...] = ()
    """Sections whose server nobody but the folder has named: it is not to be asked."""

    @property
    def notice(self) -> str | None:
        """A line on what was ignored and why; None if nothing was."""
        if not self.ignored:
            return None
        return (
            f"ignored, since this folder may be somebody else's: {', '.join(self.ignored)}; these run code, send data "
            f"or write elsewhere: type those that you want here, or {TRUST} takes all"
        )

    def check_server(self, section: str) -> None:
        """UserError where the section's server is one that only the folder has named."""
        if section not in self.unknown_servers:
            return
        server: ServerConfig = getattr(self.config, section)
        key = f", and the value of {server.api_key_env} as a key," if server.api_key_env else ""
        line = " ".join(filter(None, (_host(server), server.api_key_env)))
        typed = [f"{section}.base_url={server.base_url}"]
        typed += [f"{section}.{key}={value}" for key in SERVER_KEYS[1:] if (value := getattr(server, key))]
        raise UserError(
            visible_line(
                f"the config in this folder, which may be somebody else's, sends prompts{key} to {server.base_url}. If "
                f"you want that, type {' '.join(typed)}, or add the line `{line}` to {file()}"
            )
        )


def frozen(path: Path, arguments: Sequence[str] = ()) -> Frozen:
    """Read the config.yaml of a run folder. `arguments` are --trust and KEY=VALUE of guarded keys.

    All of it is taken if the driver says that it wrote it, or with --trust. UserError if it was changed since the
    driver wrote it, and for arguments that cannot be.
    """
    typed, trusts = _typed([one for one in arguments if one != TRUST]), TRUST in arguments
    content = content_of(path)
    if said := os.environ.get(DIGEST):
        if digest_of(content) != said:
            raise UserError(f"{path} was changed after this run was started; start the same command again")
        trusts = True
    values = parsed(path, content)
    ignored = [] if trusts else list(_reset(values, typed, path.parent))
    for key, value in typed.items():
        _put(values, key, value)
    config = from_plain(values)
    if trusts:
        return Frozen(config, trusted=True)
    unknown = [section for section in SERVERS if not _may_ask(config, section, typed)]
    for section in unknown:
        server: ServerConfig = getattr(config, section)
        ignored += [_shown(f"{section}.{key}", value) for key in SERVER_KEYS if (value := getattr(server, key))]
    own = replace(config, run_dir=str(path.parent))  # it may be a copy
    return Frozen(own, ignored=tuple(ignored), unknown_servers=tuple(unknown))


def refuse_links(root: Path, exempt: Path) -> None:
    """UserError for a link in a run folder that leads out of it: what a stage writes through it lands elsewhere.
    `exempt` is the one that the mix makes itself."""
    for folder, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            link = Path(folder, name)
            if link.is_symlink() and link != exempt and not link.resolve().is_relative_to(root):
                raise UserError(
                    f"{visible_line(link)} is a link to {visible_line(link.resolve())}, outside of this folder, which "
                    f"may be somebody else's: remove it, or {TRUST} follows it"
                )


def _reset(values: dict[str, Any], typed: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Give the guarded keys that were not typed, but for those of servers, the value they have by default; yields those
    that had another."""
    offline = _get(values, "log.mode") != "online" and typed.get("log.mode") != "online"
    for key in GUARDED:
        section, _, name = key.rpartition(".")
        by_default = str(default_cache()) if key == "cache_dir" else DEFAULTS[key]
        value = _get(values, key)
        if (section in SERVERS and name in SERVER_KEYS) or (key in ONLY_ONLINE and offline):
            continue
        if value in (by_default, None) or (KEYS[key].written_to and _is_inside(value, root)):
            continue
        if key not in typed:
            yield _shown(key, value)
        _put(values, key, by_default)


def _is_inside(value: Any, root: Path) -> bool:
    return isinstance(value, str) and Path(value).resolve().is_relative_to(root)


def _may_ask(config: Config, section: str, typed: Mapping[str, Any]) -> bool:
    server: ServerConfig = getattr(config, section)
    provider = config.engine.name if section == "engine" else config.judge.provider
    if server.base_url is None or f"{section}.base_url" in typed:
        own = server.api_key_env in (None, typed.get(f"{section}.api_key_env", ""))
        return (own and server.via in (None, typed.get(f"{section}.via"))) or is_known(server, provider)
    if (server.base_url, server.api_key_env, server.via) == (LOCAL_DEFAULT, None, None):
        return True
    return is_known(server, provider)


def _host(server: ServerConfig) -> str:
    return (server.base_url or "").partition("://")[2].partition("/")[0]


def _typed(arguments: Sequence[str]) -> dict[str, Any]:
    """Key -> value of what was typed. UserError for what is no KEY=VALUE of a guarded key."""
    found: dict[str, Any] = {}
    for argument in arguments:
        key, sign, text = argument.partition("=")
        key = key.removeprefix("+").removeprefix("+")
        owner = next((known for known in GUARDED if key == known or key.startswith(f"{known}.")), None)
        if not sign:
            raise UserError(f"{visible_line(argument)} is not KEY=VALUE or {TRUST}: {USAGE}")
        if owner is None:
            known = ", ".join(sorted(GUARDED))
            problem = f"{key} is settled in config.yaml" if key in KEYS else unknown_key(key)
            raise UserError(visible_line(f"{problem}; a stage takes only {known}"))
        try:
            found[key] = plain_values(f"value: {text}".encode())["value"]
        except ValueError as error:
            raise UserError(f"{visible_line(argument)}: {error}") from None
    return found


def _get(values: Mapping[str, Any], key: str) -> Any:
    inside: Any = values
    for word in key.split("."):
        inside = inside.get(word) if isinstance(inside, dict) else None
    return inside


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = value


def _shown(key: str, value: Any) -> str:
    return f"{key}={shortened(visible_line(value), LONGEST)}"


assert {f"{section}.{key}" for section in SERVERS for key in SERVER_KEYS} <= set(GUARDED)
assert keys_that(lambda setting: setting.written_to) == ["recreate.out", "cache_dir"]
