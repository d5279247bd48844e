"""One request to a provider: its response as text without the key, or why none came.

The provider's own client writes addresses, headers and signatures; `openai` or `anthropic` is loaded when the first
request is made.
"""

import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sciriff.config.server import OWN_HOSTS
from sciriff.models.api.transport import NoAnswer, new_http_client
from sciriff.run.user_error import UserError

KEY_SHOWN_AS = "[key]"
SHORTEST_SECRET = 8
"""Characters. Servers that want no key are given a word such as EMPTY, which answers may hold."""
SHOWN = 300
"""Characters of a server's own message that an error shows."""
SECRET_HEADERS = {"authorization", "x-api-key", "api-key", "x-amz-security-token"}
NO_KEY = "none"
"""Given to a client that insists on a key where there is none; it is not sent."""
BUGS = (TypeError, AttributeError, NameError, LookupError, AssertionError)
"""Errors that keep their traceback. A cloud's sign-in, in packages of others, may fail with any other."""
CLIENTS = {
    ("openai", None): "OpenAI",
    ("openai", "azure"): "AzureOpenAI",
    ("anthropic", None): "Anthropic",
    ("anthropic", "azure"): "AnthropicFoundry",
    ("anthropic", "bedrock"): "AnthropicBedrock",
    ("anthropic", "vertex"): "AnthropicVertex",
}
"""Package and cloud -> class of the client."""
REGION = {
    "bedrock": ("aws_region", re.compile(r"bedrock-runtime\.([a-z0-9-]+)\.amazonaws\.com")),
    "vertex": ("region", re.compile(r"([a-z0-9-]+)-aiplatform\.googleapis\.com")),
}
"""Cloud -> the client's argument, and the region in a host name. Elsewhere it reads AWS_REGION or CLOUD_ML_REGION."""
READ_BY_CLIENTS = re.compile(r"(AZURE_)?OPENAI_|ANTHROPIC_")
"""Names of environment variables from which the clients take addresses, keys, headers and log levels."""
FOR_OWN_HOST = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS")
"""Variables that hold for requests to the provider itself, and to nobody else."""
FOR_A_CLOUD = ("OPENAI_API_VERSION", "ANTHROPIC_VERTEX_PROJECT_ID")

_one_at_a_time = threading.Lock()


@dataclass
class Endpoint:
    """Address of a service, what opens it, and the provider's client for it. May be shared between threads."""

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
    """Keys and tokens sent so far; those of a cloud change."""
    _client: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.key:
            self.secrets.add(self.key)

    @property
    def package(self) -> str:
        """Name of the package that the provider's client is in."""
        return "anthropic" if self.provider == "anthropic" else "openai"

    @property
    def client(self) -> Any:
        """The provider's client, made at the first use."""
        with _one_at_a_time:
            if self._client is None:
                with _masked_environment(urlsplit(self.base_url).hostname == OWN_HOSTS.get(self.provider)):
                    self._client = self._new_client()
            return self._client

    @property
    def http_library(self) -> Any:
        """The library that the client is built on: httpx2, or httpx in older versions."""
        http_client = sys.modules[self.package].DefaultHttpxClient.__mro__[1]
        return importlib.import_module(http_client.__module__.partition(".")[0])

    def _new_client(self) -> Any:
        package, name = importlib.import_module(self.package), CLIENTS[self.package, self.via]
        http_client = new_http_client(self.http_library, self.timeout, self._before_sending)
        settings = {"base_url": self.base_url, "max_retries": 0, "timeout": self.timeout, "http_client": http_client}
        if name == "AzureOpenAI":
            settings["azure_endpoint"] = settings.pop("base_url").removesuffix("/openai")
        if name == "AnthropicVertex":
            settings["access_token"] = self.key
        elif self.key or name != "AnthropicBedrock":
            settings["api_key"] = self.key or NO_KEY
        if self.via in REGION:
            argument, pattern = REGION[self.via]
            if found := pattern.fullmatch(urlsplit(self.base_url).hostname or ""):
                settings[argument] = found[1]
        return getattr(package, name)(**settings)

    def _before_sending(self, request: Any) -> None:
        """Note the keys that are sent, to blank them out of responses; send no key where there is none."""
        for name in SECRET_HEADERS & request.headers.keys():
            if self.key is None and self.via is None:
                del request.headers[name]
            elif not request.headers[name].startswith("AWS4-"):  # a signature opens nothing else
                self.secrets.add(request.headers[name].removeprefix("Bearer "))

    def without_key(self, text: str) -> str:
        """The text with our secrets blanked out, should a server have sent them back."""
        for secret in tuple(self.secrets):  # other threads may add to them
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, KEY_SHOWN_AS).replace(json.dumps(secret)[1:-1], KEY_SHOWN_AS)
        return text

    def parse(self, text: str) -> Any:
        """JSON that this server sent, without our key in any spelling. ValueError where it is none."""
        try:
            value = json.loads(self.without_key(text))
            if "\\" in text:  # written anew, the key has no escaped letters
                value = json.loads(self.without_key(json.dumps(value, ensure_ascii=False)))
        except RecursionError:
            raise ValueError("JSON that is nested too deeply") from None
        return value


@contextmanager
def _masked_environment(own_host: bool) -> Iterator[None]:
    """Hide the environment variables that a client would read on its own: what it is to know is handed to it."""
    kept = FOR_A_CLOUD + (FOR_OWN_HOST if own_host else ())
    names = [name for name in os.environ if READ_BY_CLIENTS.match(name) and name not in kept]
    hidden = {name: os.environ.pop(name) for name in names}
    os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "false"
    try:
        yield
    finally:
        del os.environ["ANTHROPIC_OPEN_TELEMETRY"]
        os.environ.update(hidden)


@dataclass(frozen=True)
class Response:
    """A response, with names of headers in lower case. The key is blanked out of `text`."""

    status: int
    headers: dict[str, str]
    text: str
    endpoint: Endpoint

    @property
    def good(self) -> bool:
        """Whether the server did what it was asked: OpenAI says 200, others 201."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON. ValueError where it is none."""
        return self.endpoint.parse(self.text)

    def _error(self) -> Any:
        """`error` of an error response, as all services have it; else the body itself."""
        try:
            body = self.json()
        except ValueError:
            return self.text
        return body.get("error", body) if isinstance(body, dict) else self.text

    def message(self) -> str:
        """Status and `error.message` of an error response, in one line; the body itself where it has none."""
        error = self._error()
        said = str(error.get("message", self.text) if isinstance(error, dict) else error)
        line = " ".join(said.split())[:SHOWN]
        # a terminal would obey its control characters
        return f"{self.status} {''.join(c if c.isprintable() else '?' for c in line)}".strip()

    def code(self) -> str | None:
        """`error.code` of an error response, such as insufficient_quota; Anthropic's is `error.details.error_code`."""
        error = self._error()
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
    content, type). NoAnswer where no whole response comes in time, UserError where a cloud's sign-in fails."""
    if endpoint.via and endpoint.package == "anthropic":
        path = f"/v1{path}"  # these clients make another path of it; the version is not in their address
    options = {"headers": {"Content-Type": "multipart/form-data"}} if file else {}
    content = {"body": body, "files": {"file": file} if file else None} if method == "POST" else {}
    try:
        ask = getattr(endpoint.client, method.lower())
        try:
            found = ask(path, cast_to=endpoint.http_library.Response, options=options, **content)
        except sys.modules[endpoint.package].APIStatusError as error:
            found = error.response
    except Exception as error:
        failure = error.__cause__ if isinstance(error.__cause__, NoAnswer) else error
        why = endpoint.without_key(" ".join(str(failure).split()))[:SHOWN]  # may hold what came instead of a response
        if isinstance(failure, NoAnswer):
            raise NoAnswer(why, may_cost=failure.may_cost) from None
        if endpoint.via is None or isinstance(error, BUGS):
            raise
        raise UserError(f"{endpoint.base_url} (via {endpoint.via}): {why or type(error).__name__}") from None
    text = endpoint.without_key(found.content.decode("utf-8", errors="replace"))
    return Response(found.status_code, {name.lower(): value for name, value in found.headers.items()}, text, endpoint)
