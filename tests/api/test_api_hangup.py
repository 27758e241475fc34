"""A client that hangs up frees what was being decoded for it: against a real server, over a socket."""

import json
import time
from contextlib import suppress

import httpx
import pytest

from tests.api.client import ok

LONG = {
    "model": "claas-tiny",
    "messages": [{"role": "user", "content": "Tell me everything."}],
    "max_tokens": 1900,
    "temperature": 2.0,
    "n": 64,
    "seed": 1,
}
"""Minutes of decoding."""


def under_way(server: httpx.Client) -> int:
    return ok(server.get("/v1/health"))["detail"]["requests"]


def seconds_until_idle(server: httpx.Client) -> float:
    """How long until nothing is being decoded any more."""
    started = time.monotonic()
    while under_way(server):
        assert time.monotonic() - started < 10
        time.sleep(0.02)
    return time.monotonic() - started


def test_hanging_up_on_a_stream_frees_its_slots(server: httpx.Client) -> None:
    with server.stream("POST", "/v1/chat/completions", json=LONG | {"stream": True}) as response:
        lines = response.iter_lines()
        told = json.loads(next(lines).removeprefix("data: "))
        assert told["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert under_way(server) > 0
    assert seconds_until_idle(server) < 5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", LONG),
        (
            "/v1/completions",
            {"model": "claas-tiny", "prompt": ["Once"] * 8, "n": 8, "max_tokens": 1900, "temperature": 2},
        ),
    ],
)
def test_hanging_up_on_a_plain_request_frees_its_slots(
    server: httpx.Client, path: str, body: dict[str, object]
) -> None:
    with suppress(httpx.ReadTimeout):
        server.post(path, json=body, timeout=httpx.Timeout(60, read=1))
        pytest.fail("it was answered")
    assert seconds_until_idle(server) < 5


def test_a_stream_arrives_while_it_is_made(server: httpx.Client) -> None:
    body = LONG | {"stream": True, "n": 1, "max_tokens": 400}
    with server.stream("POST", "/v1/chat/completions", json=body) as response:
        arrivals = [(time.monotonic(), line) for line in response.iter_lines() if line]
    assert arrivals[-1][1] == "data: [DONE]"
    assert len({round(when, 3) for when, _ in arrivals}) > 20
    told = [json.loads(line.removeprefix("data: "))["choices"] for _, line in arrivals[:-1]]
    text = "".join(choice["delta"].get("content", "") for choices in told for choice in choices)
    plain = ok(server.post("/v1/chat/completions", json=body | {"stream": False}))
    assert plain["choices"][0]["message"]["content"] == text
