"""A client that hangs up frees what was being decoded for it: against a real server, over a socket."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.api.client import ok
from tests.api.server_process import served

pytest.importorskip("torch")

LONG = {
    "model": "claas-tiny",
    "messages": [{"role": "user", "content": "Tell me everything."}],
    "max_tokens": 1900,
    "temperature": 2.0,
    "n": 64,
    "seed": 1,
}
"""Minutes of decoding."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("hangup")) as (_, url):
        httpx.get(f"{url}/health", timeout=60)
        yield url


def under_way(url: str) -> int:
    return ok(httpx.get(f"{url}/v1/health"))["detail"]["requests"]


def seconds_until_idle(url: str) -> float:
    """How long until nothing is being decoded any more."""
    started = time.monotonic()
    while under_way(url):
        assert time.monotonic() - started < 10
        time.sleep(0.02)
    return time.monotonic() - started


def test_hanging_up_on_a_stream_frees_its_slots(url: str) -> None:
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=LONG | {"stream": True}, timeout=60) as response:
        lines = response.iter_lines()
        told: dict[str, Any] = json.loads(next(lines).removeprefix("data: "))
        assert told["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert under_way(url) > 0
    assert seconds_until_idle(url) < 5


def test_hanging_up_on_a_plain_request_frees_its_slots(url: str) -> None:
    with suppress(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/chat/completions", json=LONG, timeout=httpx.Timeout(60, read=1))
        pytest.fail("it was answered")
    assert seconds_until_idle(url) < 5


def test_a_stream_arrives_while_it_is_made(url: str) -> None:
    body = LONG | {"stream": True, "n": 1, "max_tokens": 400, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
        arrivals = [(time.monotonic(), line) for line in response.iter_lines() if line]
    assert arrivals[-1][1] == "data: [DONE]"
    assert arrivals[0][0] < arrivals[-1][0] - 0.05
    assert len({round(when, 3) for when, _ in arrivals}) > 20
    text = "".join(
        choice["delta"].get("content", "")
        for _, line in arrivals[:-1]
        for choice in json.loads(line.removeprefix("data: "))["choices"]
    )
    plain = ok(httpx.post(f"{url}/v1/chat/completions", json=body | {"stream": False}, timeout=60))
    assert plain["choices"][0]["message"]["content"] == text
