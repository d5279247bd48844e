"""The providers' own clients: the clouds they reach, what of the environment they may use, and what they may not."""

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from anthropic_server import AnthropicServer
from api_calls import chat_call
from api_server import KEY, Answer, ApiServer, Raw
from openai_server import OpenAiServer

from sciriff.config.server import ServerConfig
from sciriff.models.api import limits
from sciriff.models.api.anthropic import AnthropicBatches
from sciriff.models.api.calls import Asking, Call, Reply
from sciriff.models.api.endpoint import Endpoint, request
from sciriff.models.api.limits import Budget, Pacer
from sciriff.models.api.openai import OpenAiBatches
from sciriff.models.api.prices import Price
from sciriff.models.api.service import Service
from sciriff.models.api.transport import NoAnswer
from sciriff.run.user_error import UserError

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCY"}
OF_OTHERS = {
    "OPENAI_ORG_ID": "org-of-somebody",
    "OPENAI_PROJECT_ID": "proj-of-somebody",
    "OPENAI_CUSTOM_HEADERS": "X-Team: somebody",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Team: somebody",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "OPENAI_API_KEY": "sk-of-somebody",
    "ANTHROPIC_AUTH_TOKEN": "token-of-somebody",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Listening:
    """What a server hears, in a list."""

    def __init__(self, server: ApiServer) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        server.note_key = self.note  # type: ignore[method-assign]

    def note(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))


def ask(endpoint: Endpoint, call: Call, attempts: int = 2) -> list[Reply]:
    replies: list[Reply] = []
    Asking(
        endpoint,
        AnthropicBatches.dialect if endpoint.provider == "anthropic" else OpenAiBatches.dialect,
        lambda call, reply: replies.append(reply),
        price=Price(0, 0),
        budget=Budget(None),
        pacer=Pacer(),
        at_once=1,
        attempts=attempts,
        say=print,
    ).ask_all([call])
    return replies


VERTEX = "projects/mine/locations/us-east5/publishers/anthropic"
CLOUDS: list[Any] = [
    ("openai", "azure", "/openai", KEY, "/openai/deployments/claude-x/chat/completions?api-version=2024-10-21"),
    ("openai", "azure", "", KEY, "/openai/deployments/claude-x/chat/completions?api-version=2024-10-21"),
    ("anthropic", "azure", "/anthropic", KEY, "/anthropic/v1/messages"),
    ("anthropic", "bedrock", "", None, "/model/claude-x/invoke"),
    ("anthropic", "bedrock", "", KEY, "/model/claude-x/invoke"),
    ("anthropic", "vertex", "/v1", KEY, f"/v1/{VERTEX}/models/claude-x:rawPredict"),
]


@pytest.mark.parametrize(("provider", "via", "address", "key", "path"), CLOUDS)
def test_a_call_by_way_of_a_cloud(
    provider: str, via: str, address: str, key: str | None, path: str, monkeypatch: pytest.MonkeyPatch
):
    names = {"OPENAI_API_VERSION": "2024-10-21", "AWS_REGION": "eu-central-1", "CLOUD_ML_REGION": "us-east5"}
    for name, value in {**SECRETS, **OF_OTHERS, **names, "ANTHROPIC_VERTEX_PROJECT_ID": "mine"}.items():
        monkeypatch.setenv(name, value)
    with (OpenAiServer if provider == "openai" else AnthropicServer)() as server:
        server.chat_path, heard = path, Listening(server)
        endpoint = Endpoint(server.base_url.removesuffix("/v1") + address, key, 10, provider, via)
        call = chat_call("id", "claude-x", "question", 20)
        assert ask(endpoint, call) == [Reply("Fine.\nRating: 4", 100, 10, "stop")]
    ((_, headers),) = heard.requests
    assert "somebody" not in str(headers)
    (body,) = server.bodies
    assert ("model" in body) == (via == "azure")
    if via == "azure":
        assert KEY in (headers["api-key"], headers.get("x-api-key"))
    elif key:
        assert headers["authorization"] == f"Bearer {KEY}"
    else:
        assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={SECRETS['AWS_ACCESS_KEY_ID']}/")
        assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]


def test_what_a_cloud_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    bedrock = Endpoint("https://bedrock-runtime.us-east-1.amazonaws.com", None, 5, "anthropic", "bedrock")
    with pytest.raises(UserError, match=r"amazonaws\.com \(via bedrock\): .*credentials"):
        request(bedrock, "POST", "/messages", {"model": "m"})
    with pytest.raises(UserError, match="region"):
        request(Endpoint("http://127.0.0.1:9", None, 5, "anthropic", "bedrock"), "POST", "/messages", {"model": "m"})
    server = ServerConfig(base_url="https://me.openai.azure.com", via="azure")
    service = Service("engine", "openai", "m", server)
    assert [problem for problem in service.problems() if "OPENAI_API_VERSION" in problem]


@pytest.mark.parametrize(
    ("provider", "changes", "message"),
    [
        ("openai", {"via": "bedrock"}, r"engine\.via=bedrock .*engine=openai takes azure or null"),
        ("local", {"via": "azure"}, "engine=local takes none or null"),
        ("anthropic", {"via": "amazon"}, "takes azure, bedrock, vertex or null"),
        (
            "openai",
            {"via": "azure", "base_url": "https://api.openai.com/v1", "api_key_env": "K"},
            r"engine\.base_url=https://NAME\.openai\.azure\.com",
        ),
        ("openai", {"via": "azure", "api_key_env": "OPENAI_API_KEY"}, r"engine\.api_key_env=AZURE_OPENAI_API_KEY"),
        ("anthropic", {"via": "bedrock", "api_key_env": "ANTHROPIC_API_KEY"}, r"engine\.api_key_env=null"),
        ("anthropic", {"via": "vertex", "batch": True}, r"engine\.batch=true needs engine\.via=null"),
    ],
)
def test_what_no_cloud_can_do(provider: str, changes: dict[str, Any], message: str):
    config = ServerConfig(**{"base_url": "https://cloud.example", **changes})
    with pytest.raises(UserError, match=message):
        config.check("engine", provider)


@pytest.mark.parametrize("provider", ["openai", "local", "anthropic"])
@pytest.mark.shows("S4")
def test_the_environment_is_for_the_providers_own_host_alone(provider: str, monkeypatch: pytest.MonkeyPatch):
    """Its own host is reached through a proxy of the environment, which is the fake server."""
    for name, value in OF_OTHERS.items():
        monkeypatch.setenv(name, value)
    kind = "anthropic" if provider == "anthropic" else "openai"
    call = chat_call("id", "m", "question", 20)
    with (OpenAiServer if kind == "openai" else AnthropicServer)() as server:
        heard = Listening(server)
        assert ask(Endpoint(server.base_url, KEY, 10, provider), call)
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
        own = f"http://api.{kind}.com"
        server.chat_path = own + server.chat_path
        assert ask(Endpoint(f"{own}/v1", KEY, 10, provider), call)
    (_, foreign), (path, at_home) = heard.requests
    assert path.startswith(own)
    assert "somebody" not in str(foreign)
    assert "sk-of-somebody" not in str(at_home)
    assert "token-of-somebody" not in str(at_home)
    assert ("somebody" in str(at_home)) == (provider != "local")
    assert (at_home.get("openai-organization") == "org-of-somebody") == (provider == "openai")
    assert os.environ["OPENAI_ORG_ID"] == "org-of-somebody"


def test_no_key_is_sent_where_there_is_none():
    with OpenAiServer() as server:
        heard = Listening(server)
        call = chat_call("0", "m", "question", 20)
        assert ask(Endpoint(server.base_url, None, 10, "local"), call)
    ((_, headers),) = heard.requests
    assert not {"authorization", "api-key", "x-api-key"} & headers.keys()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_no_client_logs_what_it_sends(provider: str):
    code = (
        "import sys; from sciriff.models.api.endpoint import Endpoint, request\n"
        f"endpoint = Endpoint(sys.argv[1], {KEY!r}, 10, {provider!r})\n"
        "print(request(endpoint, 'GET', '/nowhere').status)"
    )
    with (OpenAiServer if provider == "openai" else AnthropicServer)() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.base_url],
            env={**os.environ, "OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert (done.stdout, done.stderr) == ("404\n", "")


def test_a_lone_surrogate_in_a_prompt_is_sent_as_a_question_mark():
    with OpenAiServer() as server:
        assert ask(Endpoint(server.base_url, KEY), chat_call("0", "m", "half a \ud83d smile", 20))
        assert list(server.asked) == ["half a ? smile"]


def test_a_compressed_answer_that_nobody_asked_for_is_not_unpacked():
    """A few bytes may be gigabytes."""

    def squeezed(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        plain(handler, status, gzip.compress(body), {**headers, "Content-Encoding": "gzip"})

    with OpenAiServer() as server:
        plain = server.send
        server.send = squeezed  # type: ignore[method-assign]
        found = request(Endpoint(server.base_url, KEY), "POST", "/chat/completions", {"messages": [{"content": "q"}]})
    with pytest.raises(ValueError, match="Expecting value"):
        found.json()


def serve(pieces: Iterator[bytes]) -> tuple[socket.socket, str]:
    """A server that reads one request and sends these pieces."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.05)
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_drip_meets_the_deadline_in_the_headers_too_and_in_a_body_of_no_length(before: bytes):
    def pieces() -> Iterator[bytes]:
        yield before
        while True:
            yield b"X"

    listener, address = serve(pieces())
    started = time.monotonic()
    with listener, pytest.raises(NoAnswer, match=r"no whole response within 0\.4 s") as caught:
        request(Endpoint(address, KEY, 0.4), "POST", "/x", {})
    assert caught.value.may_cost
    assert time.monotonic() - started < 5


def test_a_request_that_did_not_go_out_whole_was_not_sent():
    """The server takes some of it and is silent; what is left fits no buffer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(NoAnswer, match=r"within 0\.5 s") as caught:
            request(Endpoint(address, KEY, 0.5), "POST", "/x", {"text": "x" * 50_000_000})
    assert not caught.value.may_cost


def test_a_missing_package_is_named():
    code = """
import sys
class Missing:
    def find_spec(self, name, *rest):
        if name in ("openai", "anthropic", "boto3", "google.auth"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Missing())
from sciriff.config.server import ServerConfig
from sciriff.models.api.service import Service
for provider, via in (("openai", None), ("anthropic", "bedrock"), ("anthropic", "vertex")):
    print(*Service("judge", provider, "m", ServerConfig(base_url="http://x/v1", via=via)).problems(), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "judge=openai needs the package openai, which is missing: pip install 'sciriff[api]'",
        "judge=anthropic needs the package anthropic, which is missing: pip install 'sciriff[api]'",
        "judge.via=bedrock needs the package boto3, which is missing: pip install 'anthropic[bedrock]'",
        "judge=anthropic needs the package anthropic, which is missing: pip install 'sciriff[api]'",
        "judge.via=vertex needs the package google.auth, which is missing: pip install 'anthropic[vertex]'",
    ]


def test_the_driver_loads_no_client():
    code = (
        "import sys, sciriff.train, sciriff.driver.preflight\n"
        "print([name for name in ('openai', 'anthropic', 'httpx', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_answers_that_are_no_json_are_not_believed():
    with OpenAiServer(lambda prompt, nth: Raw(b"<html>200 OK") if nth == 1 else Answer()) as server:
        assert ask(Endpoint(server.base_url, KEY), chat_call("0", "m", "question", 20))
        assert server.asked.total() == 2
