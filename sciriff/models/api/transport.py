"""An HTTP client for the providers' own clients, which adds what they leave open.

It follows no redirect, bounds the whole response in time and size, and knows whether a failed request may cost money.
"""

import codecs
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LARGEST_RESPONSE = 4 * 2**20
"""Bytes. An answer of 100,000 tokens has less than one megabyte."""
LARGEST_FILE = 512 * 2**20
"""Bytes. The result of a whole batch may have 200 MB."""


class NoAnswer(Exception):
    """An attempt that brought no answer; the same request may succeed later."""

    def __init__(
        self, why: str, kind: str = "no response", may_cost: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(why)
        self.kind = kind
        self.may_cost = may_cost
        """Whether the request was sent whole and not refused, so that the server may have acted and may want money."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""


def new_http_client(library: Any, timeout: float, before_sending: Callable[[Any], None]) -> Any:
    """An httpx (or httpx2) client that raises NoAnswer unless a whole response comes within `timeout` seconds."""

    class HttpClient(library.Client):
        def send(self, request: Any, **options: Any) -> Any:
            watch = _Watch()
            request.extensions = {**request.extensions, "trace": watch}
            timer = threading.Timer(timeout, watch.cut)
            timer.daemon = True
            timer.start()
            limit = LARGEST_FILE if request.url.path.endswith(("/content", "/results")) else LARGEST_RESPONSE
            content = bytearray()
            try:
                response = super().send(request, **{**options, "stream": True, "follow_redirects": False})
                try:
                    for piece in response.iter_raw():
                        content += piece
                        if len(content) > limit:
                            raise OSError(f"the response has more than {limit:,} bytes")
                finally:
                    response.close()
            except (library.TransportError, OSError) as error:
                if not (watch.late or isinstance(error, library.TimeoutException)):
                    why = f"{str(error) or type(error).__name__}{watch.no_http()}"
                    raise NoAnswer(why, may_cost=watch.sent) from None
                watch.late = True
            finally:
                timer.cancel()
            if watch.late:
                missing = "connection" if watch.stream is None else "whole response"
                raise NoAnswer(f"no {missing} within {timeout:g} s", may_cost=watch.sent)
            # not unpacked, should it be compressed: a few bytes may be gigabytes
            headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
            # nor with the mark at its start by which some servers tell UTF-8, and which JSON does not allow
            body = bytes(content).removeprefix(codecs.BOM_UTF8)
            return library.Response(response.status_code, headers=headers, content=body, request=request)

    return HttpClient(
        # A connection is used once: one that a server has given up on would look like a request lost on its way.
        limits=library.Limits(max_connections=None, max_keepalive_connections=0),
        headers={"Accept-Encoding": "identity", "Connection": "close"},
        event_hooks={"request": [before_sending]},
    )


class _Watch:
    """Progress of one request, as httpcore's trace extension reports it, and the means to cut it off."""

    def __init__(self) -> None:
        self.sent = False
        self.late = False
        self.stream: Any = None
        """The connection, from when there is one."""
        self._first = b""
        self._to_proxy = False

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self.stream = info["return_value"]
            self.stream.read = self._noting_the_first(self.stream.read)
            if self.late:
                self.cut()
        elif event.endswith(".send_request_headers.started"):
            self._to_proxy = info["request"].method == b"CONNECT"
        elif event.endswith(".send_request_body.complete"):
            self.sent = not self._to_proxy

    def _noting_the_first(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def noting(*arguments: Any, **options: Any) -> bytes:
            piece = read(*arguments, **options)
            self._first = self._first or piece
            return piece

        return noting

    def no_http(self) -> str:
        """First bytes of a server that speaks no HTTP, which httpcore does not tell where one line is all."""
        return "" if self._first.startswith(b"HTTP/") else f" {self._first.decode(errors='replace')}"

    def cut(self) -> None:
        """Shut the connection down: a server that drips outlasts the libraries' timeout, which holds for each piece."""
        self.late = True
        if self.stream is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.stream.get_extra_info("socket"), socket.SHUT_RDWR)
