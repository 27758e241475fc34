"""Keys and passwords never leave in a text, and nothing else is taken out of it."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core import redaction
from claas.core.errors import ClaasError, InvalidInput, MissingExtra, StackError
from claas.core.redaction import keep_secret, names_secret, without_known_secrets, without_secrets
from claas.eval.stacks.http_client import Refused


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_kept", set[str]())
    monkeypatch.setenv("SOME_API_KEY", "of-the-environment")
    monkeypatch.setenv("HF_TOKEN_PATH", "/somewhere/token")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot reach http://ada:p@ss@host:8080/v1 (refused)", "cannot reach http://[key]@host:8080/v1 (refused)"),
        ("{'Authorization': 'Bearer abc'}", "{'Authorization': 'Bearer [key]'}"),
        ("Authorization: Basic YWRhOnNlY3JldA==, again", "Authorization: Basic [key], again"),
        ("no, Bearer tok-12345678.", "no, Bearer [key]"),
        ("GET /v1?api_key=abc&page=2", "GET /v1?api_key=[key]&page=2"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "[key]", "n": 1}'),
        ("password=hunter; try again", "password=[key]; try again"),
        ("password: hunter2, again", "password: [key], again"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "Incorrect API key provided: [key]"),
        ("it says of-the-environment back", "it says [key] back"),
    ],
)
def test_a_secret_is_taken_out(text: str, left: str) -> None:
    assert without_secrets(text) == left
    assert without_secrets(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8080 wants a key: set CLAAS_API_KEY to it",
        "give a Bearer token, or a Basic course; max_tokens=400, eos_token: 2",
        "asks for http://host/a and mail@host.org",
        "the file /somewhere/token; api_key=None",
        "unknown key 'gemini_api_key': leave it out",
        "prompt_tokens: Input should be less than 2147483648, token_ids=[1, 2]",
        "eval-concise@20 is sk-learn",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@given(st.text())
def test_taking_out_twice_takes_out_nothing_more(text: str) -> None:
    assert without_secrets(without_secrets(text)) == without_secrets(text)


def test_a_key_in_use_is_known_unless_it_is_a_mere_word() -> None:
    keep_secret("given-by-hand")
    keep_secret("none")
    keep_secret(None)
    assert without_secrets("given-by-hand, none") == "[key], none"
    assert without_known_secrets("given-by-hand; password=mine") == "[key]; password=mine", "a model's own words"


@pytest.mark.parametrize("kind", [ClaasError, InvalidInput, StackError, partial(Refused, 400)])
def test_no_error_of_ours_says_one(kind: Callable[[str], ClaasError]) -> None:
    assert str(kind("it says of-the-environment")) == "it says [key]"
    assert str(MissingExtra("torch", "local")).startswith("torch is not installed")


@pytest.mark.parametrize("name", ["CLAAS_API_KEY", "HF_TOKEN", "MODAL_TOKEN_ID", "PGPASSWORD", "api_key", "own.token"])
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["KEYBOARD", "max_tokens", "HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM", "project"])
def test_names_of_nothing_secret(name: str) -> None:
    assert not names_secret(name)
