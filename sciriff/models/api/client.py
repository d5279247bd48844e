"""Build a provider's own client over an HTTP client of ours. Loads `openai` or `anthropic`, so it is imported last.

The provider's client writes addresses, headers and signatures. The HTTP client sees to what it leaves open: no redirect
is followed, the whole response has a deadline and a limit on its size, and a request that may cost money is known.
"""

import importlib
import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from sciriff.config.server import OWN_HOSTS
from sciriff.models.api.transport import LARGEST_FILE, LARGEST_RESPONSE, Endpoint, Unreachable

SECRET_HEADERS = {"authorization", "x-api-key", "api-key", "x-amz-security-token"}
NO_KEY = "none"
"""What a client that insists on a key is given where there is none; it is not sent."""
READ_BY_CLIENTS = re.compile(r"(AZURE_)?OPENAI_|ANTHROPIC_")
"""Names of environment variables from which the clients take addresses, keys, headers and log levels."""
FOR_OWN_HOST = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS")
"""Those that hold for requests to the provider itself, and to nobody else."""
FOR_A_CLOUD = ("OPENAI_API_VERSION", "ANTHROPIC_VERTEX_PROJECT_ID")
REGION = {
    "bedrock": re.compile(r"bedrock-runtime\.([a-z0-9-]+)\.amazonaws\.com"),
    "vertex": re.compile(r"([a-z0-9-]+)-aiplatform\.googleapis\.com"),
}
"""The region in a cloud's host name. Elsewhere the client reads AWS_REGION or CLOUD_ML_REGION."""

_one_at_a_time = threading.Lock()


class Connection:
    """A provider's client and the libraries it is made of. May be shared between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        with _one_at_a_time, _masked_environment(_is_own_host(endpoint)):
            self._package = importlib.import_module(endpoint.package)
            # httpx2, or httpx in older versions of the clients
            name = self._package.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
            self._library = importlib.import_module(name)
            self._client = _client(self._package, endpoint, _http_client(self._library, endpoint))

    def send(self, method: str, path: str, body: Any, file: Any) -> Any:
        """The response to one request, whatever its status. Unreachable where none comes."""
        options = {"headers": {"Content-Type": "multipart/form-data"}} if file else {}
        content = {"body": body, "files": {"file": file} if file else None} if method == "POST" else {}
        ask = getattr(self._client, method.lower())
        try:
            return ask(path, cast_to=self._library.Response, options=options, **content)
        except self._package.APIStatusError as error:
            return error.response
        except self._package.APIConnectionError as error:
            if isinstance(error.__cause__, Unreachable):
                raise error.__cause__ from None
            raise


def _is_own_host(endpoint: Endpoint) -> bool:
    """Whether the provider itself is asked, which may know the user's organisation."""
    return urlsplit(endpoint.base_url).hostname == OWN_HOSTS.get(endpoint.provider)


def _client(package: Any, endpoint: Endpoint, http_client: Any) -> Any:
    """The provider's client for this endpoint."""
    key, own_key, via = endpoint.key or NO_KEY, endpoint.key, endpoint.via
    usual = {"base_url": endpoint.base_url, "max_retries": 0, "timeout": endpoint.timeout, "http_client": http_client}
    found = REGION[via].fullmatch(urlsplit(endpoint.base_url).hostname or "") if via in REGION else None
    match endpoint.package, via:
        case "openai", "azure":
            usual["azure_endpoint"] = usual.pop("base_url").removesuffix("/openai")
            return package.AzureOpenAI(api_key=key, **usual)
        case "anthropic", "azure":
            return package.AnthropicFoundry(api_key=key, **usual)
        case "anthropic", "bedrock":
            region = {"aws_region": found[1]} if found else {}
            return package.AnthropicBedrock(**({"api_key": own_key} if own_key else {}), **region, **usual)
        case "anthropic", "vertex":
            region = {"region": found[1]} if found else {}
            return package.AnthropicVertex(access_token=own_key, **region, **usual)
    return (package.Anthropic if endpoint.package == "anthropic" else package.OpenAI)(api_key=key, **usual)


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


def _http_client(library: Any, endpoint: Endpoint) -> Any:
    """An HTTP client of this library that raises Unreachable where no whole response comes in time."""

    class HttpClient(library.Client):
        def send(self, request: Any, **options: Any) -> Any:
            for name in SECRET_HEADERS & request.headers.keys():
                if endpoint.key is None and endpoint.via is None:
                    del request.headers[name]
                elif not request.headers[name].startswith("AWS4-"):  # a signature opens nothing else
                    endpoint.secrets.add(request.headers[name].removeprefix("Bearer "))
            watch = _Watch()
            request.extensions = {**request.extensions, "trace": watch}
            timer = threading.Timer(endpoint.timeout, watch.cut)
            timer.daemon = True
            timer.start()
            limit = LARGEST_FILE if request.url.path.endswith(("/content", "/results")) else LARGEST_RESPONSE
            try:
                response = super().send(request, **{**options, "stream": True, "follow_redirects": False})
                try:
                    content = _whole(response.iter_raw(), limit)
                finally:
                    response.close()
            except (library.ConnectTimeout, library.PoolTimeout):
                raise Unreachable(f"no connection within {endpoint.timeout:g} s", sent=False) from None
            except (library.TransportError, OSError) as error:
                if not (watch.late or isinstance(error, library.TimeoutException)):
                    why = endpoint.without_key(f"{str(error) or type(error).__name__}{watch.no_http()}")
                    raise Unreachable(why, watch.sent) from None
                watch.late = True
            finally:
                timer.cancel()
            if watch.late:
                raise Unreachable(f"no whole response within {endpoint.timeout:g} s", watch.sent)
            headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
            return library.Response(response.status_code, headers=headers, content=content, request=request)

    # A connection is used once: one that a server has given up on would look like a request that was lost on its way.
    limits = library.Limits(max_connections=None, max_keepalive_connections=0)
    return HttpClient(limits=limits, headers={"Accept-Encoding": "identity", "Connection": "close"})


def _whole(pieces: Iterable[bytes], limit: int) -> bytes:
    """The body of a response. OSError for one of more than `limit` bytes."""
    found, size = [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > limit:
            raise OSError(f"the response has more than {limit:,} bytes")
    return b"".join(found)


class _Watch:
    """How far one request is, as httpcore's trace extension tells it, and the means to cut it off."""

    def __init__(self) -> None:
        self.sent = False
        """Whether the request went out whole, so that the server may have acted and may want money."""
        self.late = False
        self._stream: Any = None
        self._first = b""
        self._to_proxy = False

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
            self._stream.read = self._noting_the_first(self._stream.read)
            if self.late:
                self.cut()
        elif event.endswith(".send_request_headers.started"):
            self._to_proxy = info["request"].method == b"CONNECT"
        elif event.endswith(".send_request_body.complete"):
            self.sent = not self._to_proxy

    def _noting_the_first(self, read: Any) -> Any:
        def noting(*arguments: Any, **options: Any) -> bytes:
            piece: bytes = read(*arguments, **options)
            self._first = self._first or piece
            return piece

        return noting

    def no_http(self) -> str:
        """What a server of another kind said, which httpcore does not tell where its first line is its last."""
        return "" if self._first.startswith(b"HTTP/") else f" {self._first.decode(errors='replace')}"

    def cut(self) -> None:
        """End the connection, so that whoever waits for it sees its end. A client's own timeout is for each piece, and
        a server that drips outlasts it."""
        self.late = True
        if self._stream is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)
