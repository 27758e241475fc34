"""Bad days on Modal: each one clear line, of the right kind, and what was begun can be continued."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpclib import Status
from modal_proto import api_pb2

import claas
from claas.core.errors import ClaasError, Forbidden, InvalidInput, StackError
from claas.core.settings import TrainingConfig
from claas.engines.modal.app import Host
from claas.engines.modal.rpc import packed, result, source
from claas.engines.types import AdapterSpec, SamplingParams, TrainingItem, UpdateRequest

pytestmark = pytest.mark.anyio

Opened = Callable[..., Awaitable[Any]]
TURN = ({"role": "user", "content": "Tell me about rain."},)
LORA = "me/words"
TRAINING = TrainingConfig(learning_rate=1e-3, steps_per_batch=2)


async def answered(engine: Any) -> list[TrainingItem]:
    """Feedback on one answer of a new adapter."""
    sample = await engine.sample(await engine.init_adapter(AdapterSpec(LORA, rank=8)), TURN, SamplingParams(24, seed=1))
    return [TrainingItem(TURN, sample.prompt_ids, sample.token_ids, sample.logprobs, "Be more concise.")]


def one_line(error: ClaasError) -> str:
    said = str(error)
    assert said
    assert "\n" not in said
    return said


async def test_an_app_that_is_not_deployed_is_said_with_the_command_that_deploys_it(
    fake: Any, open_modal: Opened
) -> None:
    fake.app = None
    with pytest.raises(StackError) as caught:
        await open_modal()
    said = one_line(caught.value)
    assert said.startswith("app 'claas' is not deployed on Modal (")
    assert "CLAAS_MODAL_BASE_MODEL=claas-tiny modal deploy -m claas.engines.modal.app; then run the same" in said
    assert not fake.started


async def test_an_app_with_another_base_model_is_not_used(open_modal: Opened) -> None:
    with pytest.raises(InvalidInput) as caught:
        await open_modal("Qwen/Qwen3-8B")
    said = one_line(caught.value)
    assert "app 'claas' on Modal serves 'claas-tiny': add base_model=claas-tiny, or deploy another app with: " in said
    assert said.endswith("CLAAS_MODAL_APP=claas-2 modal deploy -m claas.engines.modal.app")


async def test_an_app_of_another_source_is_refused_before_anything_is_read(fake: Any, open_modal: Opened) -> None:
    await open_modal()
    reply = await fake.container().host.answer("0.0.1+0123456789ab", "describe", b"no pickle")
    with pytest.raises(StackError) as caught:
        result(reply)
    said = one_line(caught.value)
    assert "0.0.1+0123456789ab" in said
    assert source() in said
    assert "deploy it again with: CLAAS_MODAL_BASE_MODEL=claas-tiny modal deploy -m claas.engines.modal.app" in said


async def test_a_model_that_cannot_be_loaded_is_said_and_tried_again(
    fake: Any, open_modal: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAAS_MODAL_BASE_MODEL", "./nowhere")
    with pytest.raises(InvalidInput, match=r"base model './nowhere': no such directory"):
        await open_modal("./nowhere")
    assert fake.started
    monkeypatch.setenv("CLAAS_MODAL_BASE_MODEL", "claas-tiny")
    assert (await open_modal()).base_model == "claas-tiny"


async def test_a_failure_that_is_no_error_of_ours_is_one_line_too(caplog: pytest.LogCaptureFixture) -> None:
    def open_engine() -> Any:
        raise RuntimeError("out of memory:\n tried to allocate 2 GiB")

    with pytest.raises(StackError) as caught:
        result(await Host(open_engine, "modal deploy").answer(source(), "describe", packed(())))
    assert "failed at describe: RuntimeError: out of memory: tried to allocate 2 GiB; its log" in one_line(caught.value)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (Status.UNAUTHENTICATED, Forbidden, "does not accept the credentials for describe"),
        (Status.PERMISSION_DENIED, Forbidden, "does not allow describe with these credentials"),
        (Status.RESOURCE_EXHAUSTED, StackError, "is limiting describe"),
        (Status.NOT_FOUND, StackError, "app 'claas' is not deployed on Modal"),
        (Status.FAILED_PRECONDITION, StackError, "Modal failed at describe"),
        (Status.UNAVAILABLE, StackError, "Modal cannot be reached for describe"),
    ],
)
async def test_what_modal_refuses(
    fake: Any, open_modal: Opened, status: Status, kind: type[ClaasError], said: str
) -> None:
    fake.failing["FunctionMap"] = status
    with pytest.raises(kind) as caught:
        await open_modal()
    assert said in one_line(caught.value)
    fake.failing.clear()
    assert (await open_modal()).base_model == "claas-tiny"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("TIMEOUT", "Modal stopped describe, which took longer than the app allows"),
        ("INTERNAL_FAILURE", "Modal failed at describe: the machine was lost; `modal app logs claas`"),
        ("FAILURE", "Modal failed at describe: the machine was lost; `modal app logs claas`"),
    ],
)
async def test_a_container_that_ends(fake: Any, open_modal: Opened, status: str, said: str) -> None:
    code = api_pb2.GenericResult.GenericStatus.Value(f"GENERIC_STATUS_{status}")
    fake.broken = api_pb2.GenericResult(status=code, exception="the machine\nwas lost")
    with pytest.raises(StackError) as caught:
        await open_modal()
    assert said in one_line(caught.value)


async def test_a_call_that_hangs_ends_in_time(fake: Any, open_modal: Opened) -> None:
    fake.hanging = True
    with pytest.raises(StackError) as caught:
        await open_modal(timeout_s=3.0)
    assert "Modal did not finish describe within 3 s; `modal app logs claas`" in one_line(caught.value)


async def test_an_update_whose_caller_is_gone_is_made_once(open_modal: Opened) -> None:
    engine = await open_modal()
    items = await answered(engine)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.update(UpdateRequest(LORA, items, TRAINING, "first")), 0.05)
    again = await engine.update(UpdateRequest(LORA, items, TRAINING, "first"))
    assert (again.weights.version, again.replayed) == (1, True)
    assert (await engine.resolve(LORA)).version == 1


async def test_a_container_killed_before_the_commit_has_made_nothing(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    items = await answered(engine)
    fake.refused_commits = 1000
    with pytest.raises(StackError, match="Modal did not commit the volume of adapters: there are open files"):
        await engine.update(UpdateRequest(LORA, items, TRAINING, "first"))
    assert (await engine.resolve(LORA)).version == 0, "nobody is answered by what may be lost"
    await fake.kill()
    fake.refused_commits = 0
    assert (await engine.resolve(LORA)).version == 0
    again = await engine.update(UpdateRequest(LORA, items, TRAINING, "first"))
    assert (again.weights.version, again.replayed) == (1, False)


async def test_a_container_killed_after_the_commit_tells_the_receipt_when_asked_again(
    fake: Any, open_modal: Opened
) -> None:
    engine = await open_modal()
    items = await answered(engine)
    fake.losing_replies = True
    with pytest.raises(StackError, match="Modal failed at update: the container was killed"):
        await engine.update(UpdateRequest(LORA, items, TRAINING, "first"))
    await fake.kill()
    fake.losing_replies = False
    again = await engine.update(UpdateRequest(LORA, items, TRAINING, "first"))
    assert (again.weights.version, again.replayed) == (1, True)
    assert (await engine.resolve(LORA)).version == 1


async def test_health_looks_the_app_up_and_starts_nothing(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    await fake.stop()
    health = await engine.health()
    assert health.ok
    assert health.detail == {"engine": "modal", "app": "claas", "device": "cpu", "window": 2048}
    fake.app = None
    health = await engine.health()
    assert not health.ok
    assert "app 'claas' is not deployed on Modal" in str(health.detail["reason"])
    assert not fake.started


async def test_a_deployment_made_meanwhile_is_found(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    fake.failing["FunctionMap"] = Status.NOT_FOUND
    with pytest.raises(StackError):
        await engine.resolve(None)
    fake.failing.clear()
    assert (await engine.resolve(None)).base_model == "claas-tiny"


def test_a_service_that_is_not_there_is_said_in_time(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from claas.engines.modal.engine import ModalEngine\n"
        "from claas.core.errors import StackError\n"
        "try:\n    ModalEngine.open('claas', 'claas-tiny', Path('here'), timeout_s=1)\n"
        "except StackError as error:\n    print(error)"
    )
    environment = {**os.environ, "MODAL_TOKEN_ID": "ak-test", "MODAL_TOKEN_SECRET": "as-test"}
    environment |= {"MODAL_SERVER_URL": "http://127.0.0.1:9", "PYTHONPATH": str(Path(claas.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("Modal did not answer within 1 s; run the same command again when"), done.stderr
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert "as-test" not in done.stdout
