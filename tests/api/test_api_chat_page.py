"""The chat page: anybody may load it, since it says nothing, and it can do what its policy allows and no more."""

import re
from pathlib import Path

import pytest

from tests.api.client import error, running, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


async def test_the_page_and_its_scripts_need_no_key_and_hold_none_of_what_needs_one(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running(engine, settings(tmp_path), api_key="s3cret") as api:
        page = await api.http.get("/v1/chat")
        assert page.status_code == 200
        assert engine.base_model not in page.text
        scripts = re.findall(r'src="(/v1/eval/assets/chat[^"]+)"', page.text)
        assert len(scripts) == 2
        for script in scripts:
            assert (await api.http.get(script)).status_code == 200
        for path in ("/v1/eval", "/v1/dashboard", "/v1/models", "/v1/chat/completions", "/v1/eval/assetsx"):
            error(await api.http.get(path), 401)
        error(await api.http.post("/v1/chat/completions", json={}), 401)


async def test_the_page_runs_its_own_scripts_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        page = await api.http.get("/v1/chat", params={"alias": "ada"})
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert (policy["script-src"], policy["connect-src"], policy["default-src"]) == ("'self'", "'self'", "'none'")
    assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page.text)
    assert 'data-alias="ada"' in page.text


async def test_an_alias_that_cannot_be_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert "invalid alias" in error(await api.http.get("/v1/chat", params={"alias": '"><script>'}), 422)
