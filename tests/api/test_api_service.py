"""Scoring, health, names and the introduction."""

from pathlib import Path

import pytest

import claas
from claas.core.errors import StackError
from claas.wire.adapters import HealthResponse, ServiceInfo, WorkerHealth
from claas.wire.completions import ScoreResponse
from tests.api.client import LORA, NAME, error, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine, prompt_ids

pytestmark = pytest.mark.anyio


async def test_a_score_says_what_each_token_weighs_under_which_weights(tmp_path: Path, engine: FakeEngine) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    async with serving(tmp_path, engine) as api:
        body = {"model": NAME, "messages": messages, "completion": "Hello you"}
        score = ScoreResponse.model_validate(ok(await api.http.post("/v1/score", json=body)))
    assert (score.model, score.system_fingerprint) == ("eval-concise@0", engine.adapters[LORA][0].digest)
    assert (score.tokens, score.logprobs, score.logprob_sum) == (
        ["Hello", "you", "<end>"],
        [-0.1, -0.2, -0.01],
        pytest.approx(-0.31),
    )
    assert score.completion_tokens == 3
    assert score.prompt_tokens == len(prompt_ids(messages))


@pytest.mark.parametrize(
    ("changed", "status"), [({"model": "nobody"}, 404), ({"completion": ""}, 422), ({"x": 1}, 422)]
)
async def test_what_cannot_be_scored_is_refused(tmp_path: Path, changed: dict[str, object], status: int) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "completion": "Hello", **changed}
    async with serving(tmp_path) as api:
        error(await api.http.post("/v1/score", json=body), status)


async def test_the_models_are_the_base_and_every_adapter(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.init("team/a/b")
        listed = ok(await api.http.get("/v1/models"))
    assert [model["id"] for model in listed["data"]] == [BASE_MODEL, NAME, "team-a-b"]


async def test_the_service_introduces_itself(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        info = ServiceInfo.model_validate(ok(await api.http.get("/")))
    assert info == ServiceInfo(
        name="claas", version=claas.__version__, mode="local", base_model=BASE_MODEL, uses_predictions=True
    )


async def test_what_can_be_asked_stands_on_a_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        described = ok(await api.http.get("/openapi.json"))["paths"]
        page = await api.http.get(ok(await api.http.get("/"))["docs"])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path, operations in described.items():
        assert all(f"<dt>{method.upper()} {path}</dt><dd>" in page.text for method in operations)
    assert "<dt>POST /v1/feedback</dt><dd>Make one update" in page.text


async def test_what_other_services_have_is_answered_with_what_to_ask_instead(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert "GET /v1/lora lists" in error(await api.http.get("/v1/sampler/status"), 404)


async def test_health_is_the_engines(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        full = HealthResponse.model_validate(ok(await api.http.get("/v1/health")))
        brief = HealthResponse.model_validate(ok(await api.http.get("/health")))
        engine.ok = False
        sick = [await api.http.get(path) for path in ("/health", "/v1/health")]
    assert (full.status, full.base_model, full.detail) == ("ok", BASE_MODEL, {"adapters": 1})
    assert brief.detail == {}
    assert [response.status_code for response in sick] == [503, 503]
    assert sick[0].json()["status"] == "unavailable"
    assert full.worker == WorkerHealth(status="healthy")
    assert sick[0].json()["worker"] == {"status": "unhealthy", "error": "the engine cannot serve"}


async def test_unknown_paths_and_methods_are_refused_in_the_same_shape(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert "GET /v1/nothing" in error(await api.http.get("/v1/nothing"), 404)
        assert "GET /v1/feedback" in error(await api.http.get("/v1/feedback"), 405)


async def test_a_failed_engine_is_a_503_and_a_bug_is_a_500(tmp_path: Path, engine: FakeEngine) -> None:
    failures = iter([StackError("the device is gone"), ZeroDivisionError("secret detail")])

    def script(*_: object) -> str:
        raise next(failures)

    engine.script = script
    async with serving(tmp_path, engine) as api:
        assert error(await api.try_chat(), 503) == "the device is gone"
        assert "secret" not in error(await api.try_chat(), 500)


async def test_what_is_not_json_is_a_400(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for body in (b"{", b"", b"\xff\xfe", b'{"model": NaN'):
            response = await api.http.post(
                "/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}
            )
            assert response.status_code in (400, 422)
            error(response, response.status_code)


async def test_the_engine_is_closed_when_the_app_ends(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine):
        assert not engine.closed
    assert engine.closed
