"""Calls as the stages make them."""

from collections.abc import Mapping
from typing import Any

from sciriff.config.server import ServerConfig
from sciriff.models.api.calls import Call
from sciriff.models.api.service import Service


def chat_call(
    id: str,
    model: str,
    text: str,
    longest: int,
    provider: str = "local",
    temperature: float | None = None,
    more: Mapping[str, Any] = {},
) -> Call:
    server = ServerConfig(base_url="http://127.0.0.1/v1", temperature=temperature)
    return Service("engine", provider, model, server).call(id, text, longest, more)
