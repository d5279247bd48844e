"""One request to a provider: its answer as text without the key, or why none came."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sciriff.run.user_error import UserError

LARGEST_RESPONSE = 4 * 2**20
"""Bytes. An answer of 100,000 tokens has less than one megabyte."""
LARGEST_FILE = 512 * 2**20
"""Bytes. The result of a whole batch may have 200 MB."""
KEY_SHOWN_AS = "[key]"
SHORTEST_SECRET = 8
"""Characters. Servers that want no key are given a word such as EMPTY, which answers may hold."""
SHOWN = 300
"""Characters of a server's own message that an error shows."""


class Unreachable(Exception):
    """Nothing came back, or not all of it, or not in time."""

    def __init__(self, why: str, sent: bool = True) -> None:
        super().__init__(" ".join(why.split())[:SHOWN])  # what came instead of a response may be in it
        self.sent = sent
        """Whether the request went out whole, so that the server may have acted and may want money."""


@dataclass
class Endpoint:
    """Where a service is, and what opens it."""

    base_url: str
    """Such as https://api.openai.com/v1, without a slash at its end."""
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    """Seconds for a whole response."""
    provider: str = "openai"
    """openai, local or anthropic."""
    via: str | None = None
    """The cloud that serves the provider's models: azure, bedrock or vertex; None is the provider itself."""
    secrets: set[str] = field(default_factory=set, repr=False)
    """What has opened the service so far; tokens of a cloud change."""

    def __post_init__(self) -> None:
        if self.key:
            self.secrets.add(self.key)

    @property
    def package(self) -> str:
        """The provider's client, by the name under which Python finds it."""
        return "anthropic" if self.provider == "anthropic" else "openai"

    def path_of(self, path: str) -> str:
        """A path as the client knows it: Anthropic's clients for a cloud expect the version in it, which their address
        lacks, and make another path of it."""
        return f"/v1{path}" if self.via and self.package == "anthropic" else path

    @cached_property
    def connection(self) -> Any:
        """The provider's client, see client.py. UserError names what its cloud lacks here."""
        from sciriff.models.api.client import Connection

        with self.one_line():
            return Connection(self)

    @contextmanager
    def one_line(self) -> Iterator[None]:
        """Turn what a cloud's sign-in says is wrong into a UserError."""
        try:
            yield
        except Unreachable:
            raise
        except Exception as error:
            if self.via is None:
                raise
            why = self.without_key(" ".join(str(error).split()))[:SHOWN]
            raise UserError(f"{self.base_url} (via {self.via}): {why or type(error).__name__}") from None

    def without_key(self, text: str) -> str:
        """The text, should a server have sent our key back, without it."""
        for secret in tuple(self.secrets):  # other threads may add to them
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, KEY_SHOWN_AS)
        return text

    def parse(self, text: str) -> Any:
        """JSON that this server sent, without our key in any spelling. UserError where it is none."""
        try:
            value = json.loads(self.without_key(text))
            return self._values_without_key(value) if "\\" in text else value
        except RecursionError:
            raise UserError("JSON that is nested too deeply") from None

    def _values_without_key(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.without_key(value)
        if isinstance(value, list):
            return [self._values_without_key(item) for item in value]
        if isinstance(value, dict):
            return {self.without_key(name): self._values_without_key(item) for name, item in value.items()}
        return value


@dataclass(frozen=True)
class Response:
    """What came back, with names of headers in lower case. The key is blanked out of `text`."""

    status: int
    headers: dict[str, str]
    text: str
    endpoint: Endpoint
    """Who said so."""

    @property
    def good(self) -> bool:
        """Whether the server did what it was asked: OpenAI says 200, others 201."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON. UserError where it is none."""
        return self.endpoint.parse(self.text)

    def message(self) -> str:
        """What an error response says, in one line: `error.message` as OpenAI writes it, else the body itself."""
        found: Any = self.text
        try:
            body = self.json()
        except ValueError:
            body = None
        if isinstance(body, dict):
            error = body.get("error", body)
            found = error.get("message", self.text) if isinstance(error, dict) else error
        line = " ".join(str(found).split())[:SHOWN]
        # a terminal would obey its control characters
        return f"{self.status} {''.join(c if c.isprintable() else '?' for c in line)}".strip()

    def code(self) -> str | None:
        """`error.code` of an error response, such as insufficient_quota; Anthropic's is `error.details.error_code`."""
        try:
            body = self.json()
        except ValueError:
            return None
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return None
        details = error.get("details")
        code = error.get("code") or (details.get("error_code") if isinstance(details, dict) else None)
        return code if isinstance(code, str) else None


def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    file: tuple[str, bytes, str] | None = None,
) -> Response:
    """Make one request, whatever status it ends in: with a body in JSON, or with a form of its fields and a file (name,
    content, type). Unreachable where no whole response comes in time."""
    with endpoint.one_line():
        found = endpoint.connection.send(method, path, body, file)
    text = endpoint.without_key(found.content.decode("utf-8", errors="replace"))
    return Response(found.status_code, {name.lower(): value for name, value in found.headers.items()}, text, endpoint)
