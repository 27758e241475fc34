"""Bad days at the service: each ends in time, in one clear line, without the key, and leaves nothing half done."""

import asyncio
import time
from typing import Any

import pytest

from claas.core.errors import BadRequest, ClaasError, Conflict, Forbidden, InvalidInput, NotFound, StackError
from claas.engines.tinker.calls import BoundedCalls
from claas.engines.tinker.names import require_key
from claas.engines.types import AdapterSpec, UpdateRequest
from tests.engines.talk import ask
from tests.engines.tinker.test_tinker_engine import LORA, QUICK, batch, taught
from tests.fakes.tinker_service import FakeTinker

pytestmark = pytest.mark.anyio

SOON_S = 3.0


@pytest.mark.parametrize("key", [None, "", "sk-secret", "tml-secret with spaces", "tml-sécret"])
def test_a_missing_or_malformed_key_is_said_and_not_shown(key: str | None) -> None:
    with pytest.raises(InvalidInput, match="CLAAS_TINKER_API_KEY") as raised:
        require_key(key)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, BadRequest, "HTTP 400"),
        (401, Forbidden, "does not accept the key"),
        (402, Forbidden, "credit"),
        (403, Forbidden, "HTTP 403"),
        (404, NotFound, "HTTP 404"),
        (409, Conflict, "HTTP 409"),
        (422, BadRequest, "HTTP 422"),
        (429, StackError, "HTTP 429"),
        (500, StackError, "HTTP 500"),
        (503, StackError, "HTTP 503"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_a_status_is_one_line_in_time(
    open_tinker: Any, fake: FakeTinker, status: int, kind: type[ClaasError], said: str
) -> None:
    engine = await open_tinker(timeout_s=SOON_S)
    base = await engine.resolve(None)
    fake.statuses["*"] = status
    started = time.monotonic()
    with pytest.raises(kind, match=said) as raised:
        await ask(engine, base, "What is rain?")
    assert time.monotonic() - started < SOON_S + 5.0
    line = str(raised.value)
    assert "\n" not in line
    assert "tml-secret" not in line


@pytest.mark.parametrize("raised", [KeyError("model_id"), TypeError("no len"), AssertionError(), MemoryError()])
async def test_what_the_sdk_should_not_raise_is_said_at_once(raised: Exception) -> None:
    def fail() -> None:
        raise raised

    async def fail_later() -> None:
        raise raised

    calls = BoundedCalls("http://127.0.0.1:9", "tml-secret", 600.0)
    with pytest.raises(StackError, match=f"Tinker failed at opening a session: {type(raised).__name__}"):
        calls.in_thread("opening a session", fail)
    with pytest.raises(StackError, match=f"Tinker failed at sampling: {type(raised).__name__}"):
        await calls.within("sampling", fail_later())


async def test_a_service_that_fails_is_not_healthy(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker(timeout_s=SOON_S)
    assert (await engine.health()).ok is True
    fake.statuses["*"] = 401
    assert (await engine.health()).ok is False


async def test_a_dead_service_is_said_at_the_start(open_tinker: Any) -> None:
    started = time.monotonic()
    with pytest.raises(StackError, match=r"cannot be reached at http://127\.0\.0\.1:9"):
        await open_tinker(base_url="http://127.0.0.1:9")
    assert time.monotonic() - started < 10.0


async def test_a_service_that_refuses_the_key_is_said_at_the_start(open_tinker: Any, fake: FakeTinker) -> None:
    fake.statuses["*"] = 401
    with pytest.raises(Forbidden, match="does not accept the key") as raised:
        await open_tinker()
    assert "tml-secret" not in str(raised.value)


async def test_a_result_that_never_comes_ends_in_time(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker(timeout_s=1.0)
    base = await engine.resolve(None)
    fake.hanging = True
    started = time.monotonic()
    with pytest.raises(StackError, match=r"did not finish sampling within 1 s, though it answers"):
        await ask(engine, base, "What is rain?")
    assert time.monotonic() - started < 6.0


async def test_a_failed_update_leaves_the_newest_version_and_can_be_made_again(
    open_tinker: Any, fake: FakeTinker
) -> None:
    engine = await open_tinker()
    start = await engine.init_adapter(AdapterSpec(LORA))
    taken = await batch(engine)
    fake.broken = "the node was lost"
    with pytest.raises(StackError, match="the node was lost"):
        await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    assert await engine.resolve(LORA) == start
    fake.broken = None
    update = await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    assert (update.weights.version, update.replayed) == (1, False)
    assert fake.runs[fake.bodies("save_weights")[-1]["model_id"]] == QUICK.steps_per_batch, "from the checkpoint, anew"


async def test_checkpoints_of_an_update_that_failed_half_way_are_deleted_later(
    open_tinker: Any, fake: FakeTinker
) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    taken = await batch(engine)
    fake.statuses["save_weights_for_sampler"] = 400
    with pytest.raises(BadRequest):
        await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    assert len(fake.checkpoints) == 3, "the state was saved, and nobody will use it"
    fake.statuses.clear()
    await taught(await open_tinker(), "key")
    assert len(fake.checkpoints) == 4, "those of the two versions on record"


async def test_a_checkpoint_that_expired_is_said(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    weights = await engine.init_adapter(AdapterSpec(LORA))
    fake.checkpoints.clear()
    with pytest.raises(NotFound, match="was deleted there or has expired"):
        await ask(engine, weights, "hi")


async def test_deleting_while_the_service_is_away_is_made_up_for(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    [doomed] = {path.split("/")[2] for path in fake.checkpoints}
    fake.statuses["*"] = 403
    assert await engine.delete_adapter(LORA) is True
    assert len(fake.checkpoints) == 2
    fake.statuses.clear()
    again = await open_tinker()
    await again.init_adapter(AdapterSpec("eval/other"))
    await again.delete_adapter("eval/other")
    assert not any(doomed in path for path in fake.checkpoints)


async def test_a_service_that_dies_half_way_is_said_in_time(open_tinker: Any) -> None:
    from tests.fakes.tinker_service import tinker_service

    with tinker_service(FakeTinker(["claas-tiny"])) as dying:
        engine = await open_tinker(base_url=dying.url, timeout_s=4.0)
        base = await engine.resolve(None)
    with pytest.raises(StackError, match="did not finish sampling within 4 s: it cannot be reached"):
        await ask(engine, base, "What is rain?")
    assert (await engine.health()).ok is False


async def test_deleting_one_adapter_leaves_what_is_being_saved_of_another(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec("eval/doomed"))
    fake.delay_s = 0.5
    making = asyncio.create_task(engine.init_adapter(AdapterSpec(LORA)))
    while not fake.bodies("save_weights_for_sampler")[1:]:  # noqa: ASYNC110 (the service is in another thread)
        await asyncio.sleep(0.01)
    assert await engine.delete_adapter("eval/doomed")
    assert not making.done(), "it was still being saved"
    weights = await making
    assert len(fake.checkpoints) == 2
    assert (await ask(engine, weights, "hi")).weights == weights


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("adapter_config.json", b"{", "cannot be read"),
        ("adapter_model.safetensors", b"short", "cannot be read"),
    ],
)
async def test_an_export_that_cannot_be_used_is_said(
    open_tinker: Any, fake: FakeTinker, name: str, content: bytes, said: str
) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    fake.exported[name] = content
    with pytest.raises(StackError, match=said):
        await engine.export_adapter(LORA)
