"""Prices, caps and waits."""

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sciriff.models.api.limits import Budget, Pacer, backoff, estimated_tokens, retry_after
from sciriff.models.api.prices import Price, price_list


def test_prices():
    assert Price(2.5, 10).of(1_000_000, 100_000) == 3.5
    assert Price(2.5, 10).in_batch() == Price(1.25, 5)
    found = price_list()["gpt-4o-2024-08-06"]
    assert (found.input, found.output) == (2.5, 10)
    assert re.fullmatch(r"litellm \d+\.\d+\.\d+", found.source)
    assert found.in_batch().source == found.source
    assert all(model and not model.startswith("#") for model in price_list())


def test_a_price_holds_for_one_exact_name_at_one_cloud():
    assert "gpt-4o-2024" not in price_list()
    assert "claude-sonnet-5-5@default" not in price_list()
    assert "claude-sonnet-5-5@default" in price_list("vertex")
    assert "anthropic.claude-haiku-4-5-20251001-v1:0" in price_list("bedrock")
    assert {"gpt-4o", "claude-sonnet-5-5"} <= price_list("azure").keys()


def test_estimate_is_on_the_safe_side():
    assert estimated_tokens("") == 0
    assert estimated_tokens("The word of the day is pneumonia.") > 8
    assert estimated_tokens("语" * 10) >= 10
    assert estimated_tokens("\ud800") == 1


def test_calls_at_the_same_time_do_not_pass_the_cap_together():
    budget = Budget(1.0, spent=0.5)
    assert budget.reserve(0.3)
    assert not budget.reserve(0.3)
    budget.settle(0.3, 0.1)
    assert budget.spent == pytest.approx(0.6)
    assert budget.reserve(0.4)
    budget.settle(0.4, 0.0)
    assert Budget(None).reserve(1e9)


def test_pacing():
    pacer, stop = Pacer(requests_per_minute=1200), threading.Event()
    started = time.monotonic()
    assert all(pacer.wait(stop) for _ in range(4))
    assert time.monotonic() - started >= 0.15
    pacer.pause(0.1)
    started = time.monotonic()
    assert pacer.wait(stop)
    assert time.monotonic() - started >= 0.09
    pacer.pause(60)
    stop.set()
    assert not pacer.wait(stop)


def test_a_pause_holds_for_those_who_wait_already():
    pacer, stop = Pacer(requests_per_minute=600), threading.Event()
    assert pacer.wait(stop)
    started, ended = time.monotonic(), []
    waiting = threading.Thread(target=lambda: ended.append((pacer.wait(stop), time.monotonic())))
    waiting.start()
    pacer.pause(0.4)
    waiting.join()
    assert ended[0][0]
    assert ended[0][1] - started >= 0.39


def test_backoff_grows_and_ends():
    assert all(0.5 <= backoff(1) <= 1 for _ in range(50))
    assert all(4 <= backoff(4) <= 8 for _ in range(50))
    assert backoff(1000) <= 60


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


def test_retry_after_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    seconds = retry_after({"retry-after": date})
    assert seconds is not None
    assert 25 < seconds <= 30
