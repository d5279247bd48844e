"""One HTTP request with a key, a deadline and a limit on what comes back. Follows no redirect, so the key stays put."""

import json
import time
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError

from sciriff import __version__
from sciriff.run.user_error import UserError

LARGEST_RESPONSE = 4 * 2**20
"""Bytes. An answer of 100,000 tokens has less than one megabyte."""
LARGEST_FILE = 512 * 2**20
"""Bytes. The result of a whole batch may have 200 MB."""
PIECE = 64 * 1024
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


@dataclass(frozen=True)
class Endpoint:
    """Where a service is, and what opens it."""

    base_url: str
    """Such as https://api.openai.com/v1, without a slash at its end."""
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    """Seconds for a whole response."""
    key_header: str = "Authorization"
    key_scheme: str = "Bearer "
    """What stands before the key in its header."""
    headers: tuple[tuple[str, str], ...] = ()
    """What every request carries besides."""

    def without_key(self, text: str) -> str:
        """The text, should a server have sent our key back, without it."""
        return text.replace(self.key, KEY_SHOWN_AS) if self.key and len(self.key) >= SHORTEST_SECRET else text

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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would send the key to wherever a redirect points."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "application/json",
    largest: int = LARGEST_RESPONSE,
) -> Response:
    """Make one request, whatever status it ends in. Unreachable where no whole response comes in time, or more than
    `largest` bytes."""
    headers = {"User-Agent": f"sciriff/{__version__}", "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = content_type
    headers |= dict(endpoint.headers)
    asked = urllib.request.Request(endpoint.base_url + path, data=body, headers=headers, method=method)
    if endpoint.key:
        asked.add_unredirected_header(endpoint.key_header, endpoint.key_scheme + endpoint.key)
    deadline = time.monotonic() + endpoint.timeout
    try:
        try:
            response: HTTPResponse | HTTPError = _opener.open(asked, timeout=endpoint.timeout)
        except HTTPError as error:
            response = error
        with response:
            text = _read(response, deadline, largest).decode("utf-8", errors="replace")
            found = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status or 0, found, endpoint.without_key(text), endpoint)
    except TimeoutError:
        raise Unreachable(f"no whole response within {endpoint.timeout:g} s") from None
    except URLError as error:
        # what urllib wraps in this happened before the whole request was out
        late = isinstance(error.reason, TimeoutError)
        why = f"no connection within {endpoint.timeout:g} s" if late else endpoint.without_key(str(error.reason))
        raise Unreachable(why, sent=False) from None
    except UnicodeError as error:
        raise Unreachable(f"no such host: {error}", sent=False) from None
    except (OSError, HTTPException) as error:
        raise Unreachable(endpoint.without_key(str(error)) or type(error).__name__) from None


def _read(response: Any, deadline: float, largest: int) -> bytes:
    """The body. A socket's own timeout is for each piece, so a server that drips is caught here; and that a connection
    ended before its time only shows in the length."""
    pieces, size = [], 0
    while piece := response.read1(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > largest:
            raise OSError(f"the response has more than {largest:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != size:
        raise OSError(f"the connection ended after {size} of {announced} bytes")
    return b"".join(pieces)
