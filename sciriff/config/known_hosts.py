"""Servers that a person lets a run folder name: lines `HOST[:PORT] [VARIABLE]` in a file of one's own.

A folder that somebody else made can name any server and any environment variable. Its server gets prompts, and the
variable's value as a key, only where the provider itself is that server, or where a line here says so.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from sciriff.config.server import OWN_HOSTS, ServerConfig
from sciriff.run.user_error import UserError

LINE = re.compile(r"(?P<host>[\w.\[\]:-]+)(\s+(?P<variable>[A-Za-z_]\w*))?")


def file() -> Path:
    """$XDG_CONFIG_HOME/sciriff/hosts, by default ~/.config/sciriff/hosts."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "sciriff" / "hosts"


def known_hosts() -> set[tuple[str, str | None]]:
    """(host with its port, variable or None) of each line. UserError names the line that is none."""
    path = file()
    found: set[tuple[str, str | None]] = set()
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.partition("#")[0].strip()
        if words:
            if (match := LINE.fullmatch(words)) is None:
                raise UserError(
                    f"{path}:{number}: expected HOST[:PORT] [VARIABLE], without http:// or a path, such as "
                    "api.together.xyz MY_KEY"
                )
            found.add((match["host"].lower(), match["variable"]))
    return found


def is_known(server: ServerConfig, provider: str) -> bool:
    """Whether the server may be asked although nobody typed it: the provider itself, with its own variable and over
    https, or one that `known_hosts` lists with this variable."""
    parts = urlsplit(server.base_url or "")
    own_key = (None, f"{provider.upper()}_API_KEY")
    if server.via is None and parts.scheme == "https" and parts.netloc == OWN_HOSTS.get(provider):
        return server.api_key_env in own_key
    return server.via is None and (parts.netloc.lower(), server.api_key_env) in known_hosts()
