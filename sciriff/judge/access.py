"""What a configured judge needs before it can be asked: its key, from the environment alone, and its price."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sciriff.api.limits import Price, price_list
from sciriff.api.transport import Endpoint
from sciriff.config import JudgeConfig

KEY = re.compile(r"[!-~]+")
"""Printable ASCII. Python's own complaint about another character in a header would show the key."""


def problems(judge: JudgeConfig) -> Iterator[str]:
    """Why this judge cannot be asked from here, one line each."""
    if judge.provider == "recorded":
        if judge.path is None:
            yield "judge=recorded needs judge.path=FOLDER with <task>/lm_judge_raw.json in it"
        elif not Path(judge.path).is_dir():
            yield f"judge.path={judge.path} is not a folder"
    if not judge.asks:
        return
    key = endpoint(judge).key
    if judge.api_key_env is not None and key is None:
        yield (
            f"judge={judge.provider} needs a key in the environment variable {judge.api_key_env}; "
            "set it, or choose judge=none or judge=local"
        )
    if key is not None and not KEY.fullmatch(key):
        yield f"the environment variable {judge.api_key_env} holds characters that no key has, such as a blank"
    if judge.max_usd is not None and price(judge) is None:
        yield (
            f"judge.max_usd={judge.max_usd:g} cannot hold: the price of {judge.model} is not known here; give "
            "judge.input_usd and judge.output_usd (US dollars per million tokens), or judge.max_usd=null"
        )


def price(judge: JudgeConfig) -> Price | None:
    """What a token costs: as configured, else by the price list; None where neither says. A batch costs less."""
    if judge.input_usd is not None and judge.output_usd is not None:
        found: Price | None = Price(judge.input_usd, judge.output_usd)
    else:
        found = price_list().get(judge.model or "")
    return found.in_batch() if found is not None and judge.batch else found


def endpoint(judge: JudgeConfig) -> Endpoint:
    """The server, with the key that opens it."""
    key = os.environ.get(judge.api_key_env) if judge.api_key_env else None
    return Endpoint((judge.base_url or "").rstrip("/"), (key or "").strip() or None, judge.timeout)
