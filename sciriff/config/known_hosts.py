"""Servers that a person lets a run folder name: lines `HOST[:PORT] [VARIABLE]` of a file of one's own.

A folder that somebody else made can name any server and any environment variable. Its server gets prompts, and the
variable's value as a key, only where the provider itself is that server, or where a line here says so.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sciriff.config.server import OWN_HOSTS, ServerConfig
from sciriff.run.user_error import UserError

LINE = re.compile(r"(?P<scheme>https?://)?(?P<host>[\w.\[\]:-]+)(\s+(?P<variable>[A-Za-z_]\w*))?")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Known(NamedTuple):
    """A line of the list."""

    scheme: str | None
    """http or https, if it is said."""
    host: str
    """With its port, if it has one."""
    variable: str | None


def file() -> Path:
    """$XDG_CONFIG_HOME/sciriff/hosts, by default ~/.config/sciriff/hosts."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "sciriff" / "hosts"


def known_hosts() -> list[Known]:
    """The lines of the list. UserError names the one that is none."""
    path = file()
    found: list[Known] = []
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.partition("#")[0].strip()
        if words:
            if (match := LINE.fullmatch(words)) is None:
                raise UserError(
                    f"{path}:{number}: expected HOST[:PORT] [VARIABLE], without a path, such as api.together.xyz MY_KEY"
                )
            scheme = (match["scheme"] or "").removesuffix("://") or None
            found.append(Known(scheme, match["host"].lower(), match["variable"]))
    return found


def line_for(server: ServerConfig) -> str:
    """The line of the list that lets a folder name this server."""
    parts = urlsplit(server.base_url or "")
    plain = parts.scheme == "http" and bool(server.api_key_env) and parts.hostname not in THIS_MACHINE
    return " ".join(filter(None, (f"{'http://' if plain else ''}{parts.netloc}", server.api_key_env)))


def is_known(server: ServerConfig, provider: str) -> bool:
    """Whether the server may be asked although nobody typed it: the provider itself, with its own variable and over
    https, or one that `known_hosts` lists with this variable. A key goes over http only to this machine, or where the
    line begins with http://."""
    try:
        parts = urlsplit(server.base_url or "")
    except ValueError:  # brackets that hold no address
        return False
    if server.via is not None:
        return False
    if parts.scheme == "https" and parts.netloc == OWN_HOSTS.get(provider):
        return server.api_key_env in (None, f"{provider.upper()}_API_KEY")
    secret = server.api_key_env is not None and parts.hostname not in THIS_MACHINE
    schemes = (parts.scheme, None) if parts.scheme == "https" or not secret else (parts.scheme,)
    return any(
        (known.host, known.variable) == (parts.netloc.lower(), server.api_key_env) and known.scheme in schemes
        for known in known_hosts()
    )
