"""Bodies and names that no honest client sends: refused in one line that names them, with nothing done."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.client import LORA, NAME, error, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
POSTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/tokenize",
    "/v1/score",
    "/v1/rollouts/resolve",
    "/v1/feedback",
    "/v1/lora/init",
    "/v1/lora/import",
)
NOT_AN_OBJECT: dict[str, bytes] = {
    "nothing": b"",
    "cut off": b'{"model": ',
    "not utf-8": b'{"model": "\xff\xfe"}',
    "null": b"null",
    "a list": b"[]",
    "text": b'"model"',
    "a number of 100,000 digits": b'{"seed": ' + b"9" * 100_000 + b"}",
    "nested 200,000 deep": b"[" * 200_000,
    "an object nested 100,000 deep": b'{"model":' * 100_000,
    "nested just below the parser's bound, with half a character": b'{"x":' * 970 + b'"\\ud800"' + b"}" * 970,
    "utf-16": '{"model": "x"}'.encode("utf-16"),
    "a null byte": b"\0",
}
CONTROL = ["a\nb", "a\rb", "a\0b", "a\x1b[31mb", "a\u2028b", "a\u202eb", "\x7f"]


@pytest.mark.parametrize("body", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys())
async def test_what_is_no_request_is_refused_by_every_endpoint(tmp_path: Path, engine: FakeEngine, body: bytes) -> None:
    async with serving(tmp_path, engine) as api:
        for path in POSTS:
            response = await api.http.post(path, content=body, headers=JSON)
            assert response.status_code in (400, 413, 422), response.text
            assert len(error(response, response.status_code)) < 2000
        ok(await api.http.get("/health"))
    assert (engine.sampled, engine.trained, list(engine.adapters)) == ([], [], [LORA])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("text", ["\\ud800", "a\\ud800\\ud800", "tail \udfff"], ids=ascii)
async def test_half_a_character_is_refused_wherever_it_stands(
    tmp_path: Path, engine: FakeEngine, text: str, encoding: str
) -> None:
    bodies = [
        ("/v1/chat/completions", '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}]}'),
        ("/v1/chat/completions", '{"model": "fake-base", "messages": [{"role": "user", "content": "%s"}]}'),
        (
            "/v1/chat/completions",
            '{"model": "fake-base", "stop": "%s", "messages": [{"role": "user", "content": "a"}]}',
        ),
        ("/v1/score", '{"model": "fake-base", "messages": [{"role": "user", "content": "a"}], "completion": "%s"}'),
        ("/v1/completions", '{"model": "fake-base", "prompt": "%s"}'),
        ("/v1/rollouts/resolve", '{"text": "%s"}'),
        ("/v1/lora/init", '{"lora_id": "%s"}'),
        ("/v1/lora/init", '{"lora_id": "a", "target_modules": ["%s"]}'),
        ("/v1/lora/import", '{"lora_id": "a", "config": {"%s": 1}, "weights": ""}'),
        (
            "/v1/feedback",
            '{"requests": [{"lora_id": "eval/concise", "prompt": "%s", "response": "", "feedback": "f"}]}',
        ),
    ]
    async with serving(tmp_path, engine) as api:
        for path, body in bodies:
            sent = (body % text).encode(encoding, "surrogatepass")
            response = await api.http.post(path, content=sent, headers=JSON)
            assert "half of a character" in error(response, 422)
            error(await api.http.post(path, content=sent[:-1], headers={"Content-Type": "text/plain"}), 422)
        whole = await api.try_chat(prompt="\U0001f600", model=BASE_MODEL)
        assert whole.status_code == 200
    assert [asked.messages[-1]["content"] for asked in engine.sampled] == ["\U0001f600"]
    assert list(engine.adapters) == [LORA]


async def test_the_field_that_holds_half_a_character_is_named(tmp_path: Path) -> None:
    content = (
        b'{"model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "\xed\xa0\x80"}]}'
    )
    async with serving(tmp_path) as api:
        response = await api.http.post("/v1/chat/completions", content=content, headers=JSON)
        assert error(response, 422).startswith("messages.1.content: half of a character, '\\ud800'")
        assert response.json()["error"]["param"] == "messages.1.content"
        named = await api.http.post("/v1/chat/completions", content=b'{"\\ud800": {"\\udfff": 1}}', headers=JSON)
        assert error(named, 422).startswith("body: half of a character, '\\ud800'")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
async def test_a_body_is_utf_8(tmp_path: Path, engine: FakeEngine, encoding: str) -> None:
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "Hi"}]})
    async with serving(tmp_path, engine) as api:
        refused = await api.http.post("/v1/chat/completions", content=body.encode(encoding), headers=JSON)
        assert "UTF-8" in error(refused, 422)
        ok(await api.http.post("/v1/chat/completions", content=body.encode("utf-8-sig"), headers=JSON))
    assert len(engine.sampled) == 1


HUGE = ["9223372036854775808", "9" * 400, "9" * 4300, f"-{'9' * 4300}"]
WRONG = ["true", '"1"', "1.5", "[]"]


@pytest.mark.parametrize("value", [*HUGE, *WRONG], ids=lambda value: f"{value[:5]}-{len(value)}")
async def test_a_number_is_one_and_fits_64_bits(tmp_path: Path, engine: FakeEngine, value: str) -> None:
    chat = '{"model": "fake-base", "messages": [{"role": "user", "content": "Hi"}], "%s": %s}'
    completion = '{"model": "fake-base", "prompt": "Hi", "%s": %s}'
    init = '{"lora_id": "another", "%s": %s}'
    about = '"lora_id": "eval/concise", "prompt": "a", "response": "b", "feedback": "c"'
    feedback = '{"requests": [{' + about + ', "training": {"%s": %s}}]}'
    integers = {
        ("/v1/chat/completions", chat): ("seed", "n", "max_tokens", "max_completion_tokens", "top_logprobs"),
        ("/v1/completions", completion): ("seed", "n", "max_tokens", "logprobs"),
        ("/v1/lora/init", init): ("seed", "lora_r", "lora_alpha"),
        ("/v1/feedback", feedback): ("steps_per_batch", "teacher_top_k", "feedback_repetitions"),
    }
    numbers = {
        ("/v1/chat/completions", chat): ("temperature", "top_p"),
        ("/v1/feedback", feedback): ("learning_rate", "alpha", "kl_reg_weight"),
    }
    async with serving(tmp_path, engine) as api:
        for (path, body), names in [*integers.items(), *(numbers.items() if value != "1.5" else [])]:
            for name in names:
                response = await api.http.post(path, content=body % (name, value), headers=JSON)
                assert name in error(response, 422)
    assert (engine.sampled, engine.trained, list(engine.adapters)) == ([], [], [LORA])


@pytest.mark.parametrize("value", ["[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "1e400", "NaN", *HUGE])
async def test_what_no_record_can_hold_is_told_to_no_template(tmp_path: Path, engine: FakeEngine, value: str) -> None:
    turns = '"model": "fake-base", "messages": [{"role": "user", "content": "Hi"}], "completion": "Hello"'
    async with serving(tmp_path, engine) as api:
        for path in ("/v1/chat/completions", "/v1/score"):
            body = f'{{{turns}, "chat_template_kwargs": {{"a": {value}}}}}'
            assert "chat_template_kwargs" in error(await api.http.post(path, content=body, headers=JSON), 422)
    assert engine.sampled == []


@pytest.mark.parametrize("ids", ["[9223372036854775808]", f"[{'9' * 4300}]", "[-1]", "[[1], [true]]", "[1.0]"])
async def test_token_ids_are_integers_of_64_bits(tmp_path: Path, ids: str) -> None:
    body = f'{{"model": "fake-base", "prompt": {ids}}}'
    async with serving(tmp_path) as api:
        assert "token ids" in error(await api.http.post("/v1/completions", content=body, headers=JSON), 422)


async def test_seeds_of_choices_stay_in_64_bits(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.chat("Hi", n=3, seed=2**63 - 2)
        ok(await api.http.post("/v1/completions", json={"model": NAME, "prompt": "Hi", "n": 2, "seed": 2**63 - 1}))
    assert [asked.params.seed for asked in engine.sampled] == [2**63 - 2, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63)]
    async with serving(tmp_path, engine) as api:
        ok(await api.http.get("/health"))
    assert not (tmp_path / "store" / "rollouts.jsonl.bad").exists()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "max_tokens", "seed"])
async def test_what_is_not_a_finite_number_is_refused_by_name(
    tmp_path: Path, engine: FakeEngine, field: str, value: str
) -> None:
    body = f'{{"model": "{NAME}", "messages": [{{"role": "user", "content": "Hi"}}], "{field}": {value}}}'
    async with serving(tmp_path, engine) as api:
        assert field in error(await api.http.post("/v1/chat/completions", content=body, headers=JSON), 422)
    assert engine.sampled == []


@pytest.mark.parametrize("name", CONTROL, ids=repr)
async def test_control_characters_are_refused_in_names_and_never_said_back_raw(
    tmp_path: Path, engine: FakeEngine, name: str
) -> None:
    feedback = {"lora_id": LORA, "prompt": "a", "response": "b", "feedback": "c", "rollout_id": name}
    async with serving(tmp_path, engine) as api:
        refused = [
            (await api.http.post("/v1/lora/init", json={"lora_id": name}), 422),
            (await api.http.delete("/v1/lora", params={"lora_id": name}), 422),
            (await api.http.get("/v1/lora/export", params={"lora_id": name}), 422),
            (await api.http.put(f"/v1/aliases/{quote(name)}", json={"target": NAME}), 422),
            (await api.http.put("/v1/aliases/assistant", json={"target": name}), 404),
            (await api.http.post("/v1/completions", json={"model": name, "prompt": "a"}), 404),
            (await api.try_chat(model=name), 404),
            (await api.try_chat(model=f"{NAME}@{name}"), 404),
            (await api.try_feedback(feedback), 404),
        ]
    for response, status in refused:
        said = error(response, status)
        assert said.isprintable(), said
        assert repr(name)[1:-1] in said
    assert list(engine.adapters) == [LORA]


@pytest.mark.parametrize("length", ["-1", "abc", "1e9", "99999999999999999999"])
async def test_a_false_length_is_no_way_around_the_bound(tmp_path: Path, engine: FakeEngine, length: str) -> None:
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "x" * 3000}]}).encode()
    async with serving(tmp_path, engine, max_body_bytes=2000) as api:
        response = await api.http.post("/v1/chat/completions", content=body, headers={**JSON, "Content-Length": length})
        assert "2000 bytes" in error(response, 413)
    assert engine.sampled == []


@pytest.mark.parametrize("alias", ["../x", "..", ".hidden", "a/b", "a\\b", "a b", "%2e%2e%2fx", "x" * 201], ids=repr)
async def test_an_alias_cannot_be_a_path(tmp_path: Path, alias: str) -> None:
    async with serving(tmp_path) as api:
        response = await api.http.put(f"/v1/aliases/{quote(alias, safe='')}", json={"target": NAME})
        assert response.status_code in (404, 405, 422), response.text
        assert [model["id"] for model in ok(await api.http.get("/v1/models"))["data"]] == [BASE_MODEL, NAME]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("lora/init", {"lora_id": "a", "lora_rank": 4}, "lora_rank: unknown field, got 4; did you mean lora_r?"),
        ("rollouts/resolve", {"text": "a", "propmt": "b"}, "propmt: unknown field, got 'b'; did you mean prompt?"),
        (
            "feedback",
            {"requests": [], "orchestration": {"sleep": 1}},
            "orchestration.sleep: unknown field, got 1; did you",
        ),
        (
            "feedback",
            {"requests": [{"mood": 1}]},
            "requests.0.mood: unknown field, got 1; known: lora_id, prompt, response",
        ),
        (
            "feedback",
            {"requests": [{"training": {"learning_rat": 1}}]},
            "requests.0.training.learning_rat: unknown field, got 1; did you mean learning_rate?",
        ),
        ("lora/init", {"lora_id": "a", "x" * 100_000: 1}, "unknown field, got 1; known: lora_id, base_model"),
    ],
)
async def test_an_unknown_field_is_told_which_ones_are_known(
    tmp_path: Path, path: str, body: dict[str, object], said: str
) -> None:
    async with serving(tmp_path) as api:
        assert said in error(await api.http.post(f"/v1/{path}", json=body), 422)


async def test_an_error_says_no_more_of_a_value_than_fits_a_line(tmp_path: Path) -> None:
    long: dict[str, Any] = {"lora_id": "a" * 100_000, "lora_r": "b" * 100_000}
    async with serving(tmp_path) as api:
        assert len(error(await api.http.post("/v1/lora/init", json=long), 422)) < 2000
        assert len(error(await api.http.post("/v1/lora/init", json={"lora_id": "a" * 100_000}), 422)) < 2000
        for said in (
            error(await api.try_chat(model="a" * 100_000), 404),
            error(await api.http.get(f"/v1/models/{'a' * 60_000}"), 404),
            error(await api.http.get(f"/{'a' * 60_000}"), 404),
            error(await api.http.put("/v1/aliases/house", json={"target": "a" * 100_000}), 404),
            error(await api.http.post("/v1/lora/init", json={"lora_id": "a", "base_model": "b" * 100_000}), 403),
            error(await api.http.post("/v1/lora/init", json={"lora_id": "a", "\x1b" + "b" * 100_000: 1}), 422),
            error(await api.http.post("/v1/rollouts/resolve", json={"text": "a", "model": "b" * 100_000}), 404),
            error(await api.http.get("/%1b[31m"), 404),
        ):
            assert len(said) < 2000
            assert said.isprintable()
        many = {"lora_id": "a", **{f"field{i}": "x" * 1000 for i in range(1000)}}
        assert len(error(await api.http.post("/v1/lora/init", json=many), 422)) < 2000
