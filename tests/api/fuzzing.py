"""Requests made from the API's own schema: fitting, broken, and spoilt in one place, about an adapter that exists."""

from collections import Counter
from typing import Any
from urllib.parse import quote

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.schemas import APIOperation

from tests.api.client import LORA, NAME
from tests.api.hostile_bodies import ENCODINGS, JSON, spoilt

NOT_PROMISED = [positive_data_acceptance]
"""What fits the schema may still be refused: rules between fields are not part of it."""

SETTINGS: dict[str, Any] = {
    "database": None,
    "phases": [Phase.generate],  # what fails is printed as it was sent, so shrinking is not worth its time
    "suppress_health_check": list(HealthCheck),
}


def fuzz(url: str, examples: int) -> Counter[int]:
    """Send `examples` fitting, broken and spoilt requests each to every operation; how often each status came back.

    Raises at the first reply that is a server's error, or that is not what the schema says of it, and where an answer
    cannot be learnt from after all of them.
    """
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=url, timeout=60) as http:
        http.post("/v1/lora/init", json={"lora_id": LORA}).raise_for_status()
        for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = found.ok()
            for mode in _modes(operation):
                _send_many(operation, mode, examples, http, statuses)
            if operation.body:
                _send_spoilt(operation, examples, http, statuses)
        lesson = {"lora_id": LORA, "prompt": "Hi", "response": _said(http), "feedback": "Be more concise"}
        http.post("/v1/feedback", json={"requests": [lesson]}).raise_for_status()
    return statuses


def _modes(operation: APIOperation) -> list[GenerationMode]:
    """An operation that takes nothing, or only a name, cannot be sent anything broken."""
    takes = [*operation.query, *operation.body]
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes else [GenerationMode.POSITIVE]


def _send_many(
    operation: APIOperation, mode: GenerationMode, examples: int, http: httpx.Client, statuses: Counter[int]
) -> None:
    takes = [*operation.path_parameters, *operation.query, *operation.body]

    @seed(1)
    @settings(max_examples=examples if takes else 1, **SETTINGS)
    @given(case=operation.as_strategy(generation_mode=mode), aimed=st.booleans())
    def send(case: Case, aimed: bool) -> None:
        if aimed and mode is GenerationMode.POSITIVE:
            _aim(case, http)
        response = case.call(timeout=60)
        too_large = [negative_data_rejection] if response.status_code == 413 else []  # of which the check knows nothing
        case.validate_response(response, excluded_checks=[*NOT_PROMISED, *too_large])
        statuses[response.status_code] += 1

    send()


def _send_spoilt(operation: APIOperation, examples: int, http: httpx.Client, statuses: Counter[int]) -> None:
    """Bodies that fit, but for one of their values and for the encoding: what a schema does not think of."""

    @seed(1)
    @settings(max_examples=examples, **SETTINGS)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE), data=st.data())
    def send(case: Case, data: st.DataObject) -> None:
        _aim(case, http)
        body = data.draw(ENCODINGS)(data.draw(spoilt(case.body)))
        response = http.request(case.method, quote(case.formatted_path, safe="/%"), content=body, headers=JSON)
        assert response.status_code < 500, (case.formatted_path, body, response.text)
        assert response.status_code == 200 or response.json()["error"]["message"].isprintable()
        statuses[response.status_code] += 1

    send()


def _aim(case: Case, http: httpx.Client) -> None:
    """Let the request be about the adapter that exists, and feedback about what it said."""
    body = case.body
    if isinstance(body, dict) and "model" in body:
        body["model"] = NAME
        for turn in body.get("messages") or []:
            turn["content"] = turn.get("content") or "Hi"  # only an assistant's may be null
    elif isinstance(body, dict) and "target" in body:
        body["target"], case.path_parameters["name"] = NAME, "assistant"
    elif isinstance(body, dict) and "requests" in body:
        first = body["requests"][0]
        body["requests"] = [{**first, "lora_id": LORA, "prompt": "Hi", "response": _said(http), "rollout_id": None}]
        body.pop("from_version", None)  # one that does not exist is refused
    elif case.query and "lora_id" in case.query and case.method != "DELETE":
        case.query["lora_id"] = LORA


def _said(http: httpx.Client) -> str:
    """What the adapter that exists answers to "Hi"."""
    asked = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    return http.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
