"""Whatever a client sends, what the API writes of it is read again by its next start."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claas.api.modes import open_engine
from claas.wire.feedback import IDEMPOTENCY_HEADER
from tests.api.client import NAME, Api, error, item, ok, running, serving
from tests.api.client import settings as api_settings
from tests.api.hostile_bodies import ENCODINGS, INTEGERS, JSON, NUMBERS, SCALARS, TEXTS, Encoding
from tests.fakes.engine import BASE_MODEL, FakeEngine

MODELS = st.sampled_from([NAME, BASE_MODEL, f"{NAME}@0"])
TURNS = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS})
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
CHATS = st.fixed_dictionaries(
    {"model": MODELS, "messages": st.lists(TURNS, min_size=1, max_size=3)},
    optional={
        "seed": INTEGERS,
        "n": st.integers(1, 3),
        "max_tokens": INTEGERS,
        "temperature": NUMBERS,
        "top_p": NUMBERS,
        "stop": TEXTS,
        "chat_template_kwargs": st.dictionaries(TEXTS, VALUES, max_size=3),
    },
)
TRAINING = st.fixed_dictionaries(
    {}, optional={"learning_rate": NUMBERS, "alpha": NUMBERS, "max_grad_norm": NUMBERS, "steps_per_batch": INTEGERS}
)
FEEDBACK = st.fixed_dictionaries({"feedback": TEXTS}, optional={"training": TRAINING})
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), min_size=1, max_size=20)
NAMES = st.one_of(TEXTS, st.sampled_from(["house", "a.b", "x" * 200]))


@dataclass(frozen=True)
class Sent:
    """A request as it was sent, to be sent again."""

    method: str
    path: str
    body: bytes
    headers: dict[str, bytes]

    async def to(self, api: Api) -> httpx.Response:
        """Send it; whatever it says, the reply is no error of the server's."""
        headers = {**JSON, **self.headers}
        response = await api.http.request(self.method, self.path, content=self.body, headers=headers)
        assert response.status_code < 500, (self, response.text)
        return response


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chats=st.lists(st.tuples(CHATS, ENCODINGS), max_size=4),
    feedback=st.lists(st.tuples(FEEDBACK, ENCODINGS, KEYS), max_size=4),
    aliases=st.lists(st.tuples(NAMES, st.one_of(TEXTS, MODELS), ENCODINGS), max_size=2),
    ids=st.lists(st.tuples(NAMES, ENCODINGS), max_size=2),
    said=st.text(max_size=20),
)
def test_what_was_written_is_read_again(
    chats: Sequence[tuple[Any, Encoding]],
    feedback: Sequence[tuple[Any, Encoding, str]],
    aliases: Sequence[tuple[str, str, Encoding]],
    ids: Sequence[tuple[str, Encoding]],
    said: str,
) -> None:
    async def check(folder: Path) -> None:
        engine = FakeEngine(folder / "engine", lambda *_: said)
        async with serving(folder, engine) as api:
            told = item("Hi", await api.said("Hi", seed=2**63 - 1))
            sent = [Sent("POST", "/v1/chat/completions", encode(body), {}) for body, encode in chats]
            sent += [Sent("POST", "/v1/lora/init", encode({"lora_id": name}), {}) for name, encode in ids]
            for name, target, encode in aliases:
                path = f"/v1/aliases/{quote(name, safe='', errors='replace')}"
                sent.append(Sent("PUT", path, encode({"target": target}), {}))
            for request in sent:
                await request.to(api)
            given: list[Sent] = []
            for about, encode, key in feedback:
                headers = {IDEMPOTENCY_HEADER: key.encode("latin-1")}
                given.append(Sent("POST", "/v1/feedback", encode({"requests": [told | about]}), headers))
            receipts = [await request.to(api) for request in given]
            listed = ok(await api.http.get("/v1/models"))
        written = _contents(folder / "store")
        async with serving(folder, engine) as api:
            assert ok(await api.http.get("/v1/models")) == listed
            for request, receipt in zip(given, receipts, strict=True):
                if receipt.status_code == 200:
                    assert (await request.to(api)).json() == receipt.json()
            page = await api.http.get("/v1/dashboard?per_page=100")
            assert (page.status_code, "unreadable" in page.text) == (200, False)
        assert _contents(folder / "store") == written

    with TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


@pytest.mark.anyio
async def test_an_adapter_whose_record_cannot_be_read_answers_503_and_the_rest_is_served(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config = api_settings(tmp_path)
    async with running(open_engine(config), config) as api:
        for lora_id in ("a/broken", "a/whole"):
            await api.init(lora_id)
            ok(await api.http.put(f"/v1/aliases/the-{lora_id[2:]}", json={"target": lora_id}))
    record = tmp_path / "store" / "adapters" / "a-broken" / "000000" / "version.json"
    record.write_text("{}")
    async with running(open_engine(config), config) as api:
        assert [model["id"] for model in ok(await api.http.get("/v1/models"))["data"]] == [
            "claas-tiny",
            "a-whole",
            "the-whole",
        ]
        assert (await api.chat("Hi", "the-whole", max_tokens=2)).model == "a-whole@0"
        for name in ("a-broken", "a-broken@0", "a/broken", "the-broken"):
            assert f"{record} cannot be read" in error(await api.try_chat("Hi", name), 503)
        error(await api.http.post("/v1/lora/init", json={"lora_id": "a/broken"}), 409)
        assert ok(await api.http.delete("/v1/lora", params={"lora_id": "a/broken"})) == {"deleted": True}
        await api.init("a/broken")
        assert (await api.chat("Hi", "the-broken", max_tokens=2)).model == "a-broken@0"


def _contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}
