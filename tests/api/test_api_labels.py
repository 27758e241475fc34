"""Labels over HTTP: who may set them, on which runs, and what another site's page cannot do."""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.api.app import create_app
from claas.results.labels import Labels, read_labels
from tests.api.client import error, ok, settings
from tests.dashboard.written_runs import few, write_run
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1:8080"
LABELS = "/v1/eval/labels"


@asynccontextmanager
async def asking(
    folder: Path, engine: FakeEngine, key: str | None = None, **changed: Any
) -> AsyncGenerator[tuple[httpx.AsyncClient, Path]]:
    """An API that shows one run, and where that is."""
    run = folder / "evals" / "run"
    if not run.exists():
        write_run(run, {"concise": few(steps=1)})
    app = create_app(engine, settings(folder, results_dir=str(folder / "evals"), **changed), api_key=key)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{HOST}") as http:
        yield http, run


async def test_tags_and_note_are_set_and_shown(tmp_path: Path, engine: FakeEngine) -> None:
    async with asking(tmp_path, engine) as (http, run):
        body = {"runs": ["run"], "add": ["best"], "note": "<b>the one</b>"}
        assert ok(await http.post(LABELS, json=body))["labels"]["run"]["tags"] == ["best"]
        assert read_labels(run) == Labels(tags=("best",), note="<b>the one</b>")
        for page in ("/v1/eval", "/v1/eval/run?run=run", "/v1/eval?tag=best&q=BEST"):
            shown = (await http.get(page)).text
            assert "&lt;b&gt;the one&lt;/b&gt;" in shown
            assert ">best<" in shown
        ok(await http.post(LABELS, json={"runs": ["run"], "archived": True}))
        assert "No run matches" in (await http.get("/v1/eval")).text
        assert "&lt;b&gt;the one" in (await http.get("/v1/eval?archived=true")).text


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"runs": ["../outside"]}, 400),
        ({"runs": ["no such run"]}, 404),
        ({"runs": []}, 422),
        ({"runs": ["run", "."]}, 400),
        ({"add": ["two words"]}, 422),
        ({"note": "x" * 4001}, 422),
        ({"results_dir": "/"}, 400),
        ({"unknown": 1}, 422),
        ({"archived": "perhaps"}, 422),
    ],
)
async def test_what_is_not_right_is_refused_and_changes_nothing(
    tmp_path: Path, engine: FakeEngine, changed: dict[str, Any], status: int
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    async with asking(tmp_path, engine) as (http, run):
        error(await http.post(LABELS, json={"runs": ["run"], "add": ["best"], **changed}), status)
        assert read_labels(run) == Labels()
    assert not (tmp_path / "outside" / "labels.json").exists()


async def test_labels_that_cannot_be_read_are_a_notice_and_no_note_to_be_changed(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with asking(tmp_path, engine) as (http, run):
        (run / "labels.json").write_text("{")
        shown = (await http.get("/v1/eval/run?run=run")).text
        assert '<p class="error" role="status">' in shown
        assert "mend it, or delete it and set the labels anew" in shown
        assert "<textarea" not in shown


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_sites_page_cannot_set_any(tmp_path: Path, engine: FakeEngine, content_type: str) -> None:
    async with asking(tmp_path, engine) as (http, run):
        for origin in ("https://evil.example", "null", f"http://{HOST}.evil.example", "http://127.0.0.1:9"):
            error(await http.post(LABELS, json={"runs": ["run"], "add": ["x"]}, headers={"Origin": origin}), 403)
        simple = {"Content-Type": content_type}
        error(await http.post(LABELS, content=b'{"runs":["run"],"add":["x"]}', headers=simple), 422)
        assert read_labels(run) == Labels()
        own = {"Origin": f"http://{HOST}"}
        ok(await http.post(LABELS, json={"runs": ["run"], "add": ["x"]}, headers=own))


async def test_with_a_key_only_who_has_it_sets_them_and_a_browser_only_from_the_apis_own_pages(
    tmp_path: Path, engine: FakeEngine
) -> None:
    basic = f"Basic {base64.b64encode(b'me:s3cret').decode()}"
    body = {"runs": ["run"], "add": ["x"]}
    async with asking(tmp_path, engine, "s3cret") as (http, run):
        for headers in (
            {},
            {"Authorization": basic},
            {"Authorization": basic, "Origin": "https://evil.example"},
            {"Authorization": "Bearer wrong", "Origin": f"http://{HOST}"},
        ):
            error(await http.post(LABELS, json=body, headers=headers), 401)
        assert read_labels(run) == Labels()
        ok(await http.post(LABELS, json=body, headers={"Authorization": basic, "Origin": f"http://{HOST}"}))
        ok(await http.post(LABELS, json=body | {"add": ["y"]}, headers={"Authorization": "Bearer s3cret"}))
        assert read_labels(run).tags == ("x", "y")


async def test_an_api_may_be_started_to_change_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    async with asking(tmp_path, engine, edit_labels=False) as (http, run):
        said = error(await http.post(LABELS, json={"runs": ["run"], "add": ["x"]}), 403)
        assert "edit_labels=false" in said
        assert read_labels(run) == Labels()


async def test_a_browser_gets_words_where_a_client_gets_json(tmp_path: Path, engine: FakeEngine) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with asking(tmp_path, engine) as (http, _run):
        home = await http.get("/", headers=browser)
        assert "/v1/eval" in home.text
        assert home.headers["content-type"].startswith("text/html")
        assert ok(await http.get("/"))["name"] == "claas"
        for address in ("/v1/eval/compare", "/v1/eval/compare?run=run"):
            refused = await http.get(address, headers=browser)
            assert refused.status_code == 422
            assert "tick them in the list of runs" in refused.text
            assert "<h1>Not as it was asked</h1>" in refused.text
