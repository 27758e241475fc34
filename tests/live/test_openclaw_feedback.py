"""`/feedback` in chats of a real OpenClaw gateway, in front of the real API."""

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.openclaw_stack import INSTALLED, KEY, TOKEN, Processes, processes

pytestmark = [pytest.mark.live, pytest.mark.slow]
pytest.importorskip("torch")

VERSION = "2026.2.25"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Generator[Processes]:
    """A gateway in which each conversation has an adapter, and every lesson is announced."""
    with processes(tmp_path_factory.mktemp("feedback"), VERSION) as made:
        made.start_api()
        made.start_gateway("--feedback", "--adapter-per", "conversation", "--wait-s", "0")
        yield made


def chat(live: Processes, session: str, *messages: str) -> list[str]:
    """What is said in return; a message that begins with `+` has two answers."""
    (node,) = (INSTALLED / VERSION / "node").glob("node_modules/node-linux-*/bin/node")
    script = Path(__file__).with_name("openclaw_chat.mjs")
    command = [str(node), str(script), str(live.gateway_port), f"agent:main:{session}", *messages]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={"OPENCLAW_GATEWAY_TOKEN": TOKEN}, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def adapters(live: Processes) -> dict[str, int]:
    """The newest version of each, by the conversation that is taught."""
    headers = {"Authorization": f"Bearer {KEY}"}
    listed = httpx.get(f"{live.api_url}/v1/lora", headers=headers, timeout=60).json()["adapters"]
    return {each["lora_id"].rpartition("-")[0]: each["version"] for each in listed}


def trained(live: Processes) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (live.folder / "store" / "feedback").rglob("*.json")]


def test_a_conversation_is_taught_and_taken_back_and_another_is_not(live: Processes) -> None:
    answer, learning, receipt, _again, status, undone, unknown = chat(
        live,
        "alice",
        "What is gravity?",
        "+/feedback be shorter",
        "What is gravity?",
        "/feedback status",
        "/feedback undo",
        "/feedback use 9",
    )
    assert learning.startswith("✎ Learning “be shorter” …")
    assert receipt.startswith("✎ Learnt “be shorter”: version 1, ")
    assert status.startswith("✎ I answer as version 1.")
    assert undone == "✎ I answer as version 0 now. /feedback use 1 goes forward again."
    assert "has no version 9" in unknown
    (entry,) = trained(live)
    (item,) = entry["items"]
    assert (item["response"], item["feedback"]) == (answer, "be shorter")
    assert item["model"].startswith("openclaw-claas-agent-main-alice-")
    assert chat(live, "bob", "/feedback be longer") == [
        "✎ I have given no answer in this chat yet, at least none since I was started: ask something first."
    ]
    assert chat(live, "bob", "Hi", "/feedback status")[1].startswith("✎ I answer as version 0.")
    assert adapters(live) == {"openclaw/claas/agent-main-alice": 1, "openclaw/claas/agent-main-bob": 0}


def test_what_the_plugin_says_is_not_read_by_the_model(live: Processes) -> None:
    said = chat(live, "carol", "What is snow?", "/feedback status", "What is rain?")
    heard = live.resolve(text=said[2]).messages
    assert [turn["role"] for turn in heard] == ["system", "user", "assistant", "user"]
    assert heard[2]["content"] == said[0]


def test_an_api_that_is_gone_is_said_in_the_chat(live: Processes) -> None:
    chat(live, "dora", "What is snow?")
    live.kill("claas.api")
    (said,) = chat(live, "dora", "/feedback be shorter")
    assert said == f"✎ ✗ The CLaaS API at {live.api_url}/v1 does not answer (ECONNREFUSED). Start it, then try again."
