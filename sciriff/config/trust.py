"""Which keys of a run folder's config a stage takes that somebody started by hand on it.

A folder may come from a stranger. The driver composes the config itself and tells the stages that it starts the digest
of what it wrote. Anybody else takes keys that run code, send data, spend money or write elsewhere from the command
line alone.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sciriff.config.files import content_of, from_plain, parsed
from sciriff.config.keys import DEFAULTS, KEYS, keys_that, unknown_key
from sciriff.config.known_hosts import file, is_known, known_hosts, line_for
from sciriff.config.places import PACKAGE, conf_dir, default_cache
from sciriff.config.plain_yaml import plain_values
from sciriff.config.root import Config
from sciriff.config.server import PROVIDERS, ServerConfig
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

DIGEST = "SCIRIFF_CONFIG"
"""Environment variable of the driver's children: digest of the config.yaml that the driver wrote."""
TRUST = "--trust"
USAGE = f"RUN_DIR [{TRUST}] [KEY=VALUE ...]"
GUARDED = tuple(key for key, known in KEYS.items() if known.runs_or_sends or known.spends or known.written_to)
"""Keys that a folder of unknown origin does not decide."""
SERVERS = ("engine", "judge")
SERVER_KEYS = ("base_url", "api_key_env", "via")
ONLY_ONLINE = ("log.tracker", "log.project", "log.entity", "log.artifacts")
"""Keys that send nothing unless log.mode=online, which is guarded, too."""
LOCAL_DEFAULT = "http://localhost:8000/v1"
"""The address of engine=local and judge=local, which asks this machine alone."""
STARTED = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+")
"""Folder of one start of wandb."""
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
    typed: tuple[str, ...] = ()
    """Keys that were typed."""

    @property
    def notice(self) -> str | None:
        """A line on what was ignored and why; None if nothing was."""
        if not self.ignored:
            return None
        return (
            f"ignored, since this folder may be somebody else's: {', '.join(self.ignored)}; such keys run code, send "
            f"data, spend money or write elsewhere: type those that you want here, or {TRUST} takes all"
        )

    def check_server(self, section: str) -> None:
        """UserError where the section's server is one that only the folder has named."""
        if section not in self.unknown_servers:
            return
        server: ServerConfig = getattr(self.config, section)
        given = {f"{section}.{key}": value for key in SERVER_KEYS if (value := getattr(server, key))}
        theirs = " and ".join(f"{key}={value}" for key, value in given.items() if key not in self.typed)
        key = f" with the value of {server.api_key_env} as its key" if server.api_key_env else ""
        line, host = line_for(server), _host(server)
        listed = sorted(known.variable or "no key" for known in known_hosts() if known.host == host)
        but = f" (which has that host with {', '.join(listed)})" if listed else ""
        raise UserError(
            visible_line(
                f"prompts would go to {server.base_url}{key}, and {theirs} stands only in this folder's config, which "
                f"may be somebody else's. If you want that, type "
                f"{' '.join(f'{key}={value}' for key, value in given.items())}, or add the line `{line}` to "
                f"{file()}{but}"
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
        given = {f"{section}.{key}": value for key in SERVER_KEYS if (value := getattr(server, key))}
        ignored += [_shown(key, value) for key, value in given.items() if key not in typed]
    own = replace(config, run_dir=str(path.parent))  # it may be a copy
    return Frozen(own, ignored=tuple(ignored), unknown_servers=tuple(unknown), typed=tuple(typed))


def refuse_links(run: RunDir, may_lead_out: Collection[Path]) -> None:
    """UserError for a link in a run folder that leads out of it, since what a stage writes through it lands elsewhere,
    and for what is no file or folder, since reading it may never end. wandb links a log in the folder of each of its
    starts, which is only removed."""
    for folder, folders, files in os.walk(run.root):
        if Path(folder) == run.tracker:
            folders[:] = [name for name in folders if not STARTED.fullmatch(name)]
        for name in sorted((*folders, *files)):
            path = Path(folder, name)
            if path.is_symlink():
                if path not in may_lead_out and not _resolved(path).is_relative_to(run.root.resolve()):
                    raise UserError(
                        f"{visible_line(path)} is a link to {visible_line(path.readlink())}, outside of this folder, "
                        f"which may be somebody else's: remove it"
                    )
            elif not (path.is_file() or path.is_dir()):
                raise UserError(f"{visible_line(path)} is neither a file nor a folder; remove it")


def _resolved(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return Path("/")


def _reset(values: dict[str, Any], typed: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Give the guarded keys, but for those of servers, the value that they have by default; yields those that had
    another, unless they were typed."""
    offline = _get(values, "log.mode") != "online" and typed.get("log.mode") != "online"
    for key in GUARDED:
        section, _, name = key.rpartition(".")
        if (section in SERVERS and name in SERVER_KEYS) or (key in ONLY_ONLINE and offline):
            continue
        value, by_default = _get(values, key), _default(key, values)
        if KEYS[key].only_these and value not in KEYS[key].only_these:
            continue
        if value == by_default or (value is None and not KEYS[key].spends) or _is_less(value, by_default):
            continue
        if KEYS[key].path and _is_inside(value, root if KEYS[key].written_to else PACKAGE):  # the sample is our own
            continue
        if key not in typed:
            yield _shown(key, value)
        if value is not None or section in values:
            _put(values, key, by_default)


def _default(key: str, values: Mapping[str, Any]) -> Any:
    """The value that a guarded key has where nobody gives one: of a server's cap and prices, that of its option."""
    if key == "cache_dir":
        return str(default_cache())
    section, _, name = key.rpartition(".")
    option = _get(values, "engine.name" if section == "engine" else f"{section}.provider")
    if KEYS[key].spends and option in PROVIDERS:
        return plain_values((conf_dir() / section / f"{option}.yaml").read_bytes()).get(name)
    return deepcopy(DEFAULTS[key])


def _is_less(value: Any, cap: Any) -> bool:
    """Whether a folder's cap is below the default one; prices have none by default."""
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, cap))
    return numbers and 0 < value < cap


def _is_inside(value: Any, root: Path) -> bool:
    paths = value if isinstance(value, list) else [value]
    try:
        return all(isinstance(path, str) and Path(path).resolve().is_relative_to(root.resolve()) for path in paths)
    except (OSError, RuntimeError, ValueError):  # a link to itself, a character that no path has
        return False


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
        if owner is None and key in KEYS:
            raise UserError(
                f"{key} is settled in config.yaml; change it with the command that made this run, python -m "
                "sciriff.train. A stage takes only keys that run code, send data, spend money or write elsewhere"
            )
        if owner is None:
            raise UserError(visible_line(unknown_key(key)))
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
