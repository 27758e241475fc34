"""`GET /v1/eval` and the pages below it, over HTTP: what they answer, with which headers, and what they refuse."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.api.client import Api, error, running, serving, settings
from tests.dashboard.page_reader import Page
from tests.dashboard.test_results_folders import ODD_NAMES, outside
from tests.dashboard.written_runs import EXAMPLE, few, write_run
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

FOLLOWED = ("/v1/eval?", "/v1/eval/run?")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A root with the example run, and folders that are none."""
    root = tmp_path / "evals"
    shutil.copytree(EXAMPLE, root / "example", ignore=shutil.ignore_patterns(".*"))
    (root / "empty").mkdir()
    (tmp_path / "evals-other" / "inner").mkdir(parents=True)
    (root / "away").symlink_to(tmp_path / "evals-other")
    return root


@pytest.fixture
async def api(tmp_path: Path, results: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, results_dir=str(results)) as api:
        yield api


async def get(api: Api, address: str, **query: str) -> httpx.Response:
    return await api.http.get(f"/v1/eval{address}", params=query or None)


@pytest.mark.parametrize(("address", "query"), [("", {}), ("/run", {"run": "example"})])
async def test_a_page_is_sent_again_only_when_it_has_changed(
    api: Api, results: Path, address: str, query: dict[str, str]
) -> None:
    first = await get(api, address, **query)
    known = {"If-None-Match": first.headers["etag"]}
    again = await api.http.get(f"/v1/eval{address}", params=query or None, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    steps = results / "example" / "concise" / "steps.jsonl"
    steps.write_bytes(b"".join(steps.read_bytes().splitlines(keepends=True)[:2]))
    changed = await api.http.get(f"/v1/eval{address}", params=query or None, headers=known)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def page(response: httpx.Response, status: int = 200) -> Page:
    """The page of a response, after a look at its status, type and headers."""
    assert response.status_code == status, response.text
    headers = response.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert policy.get("script-src", "'self'") == "'self'"
    found = Page(response.text)
    assert found.strange() == []
    return found


async def test_runs_are_listed_and_each_has_its_page(api: Api) -> None:
    listed = page(await get(api, ""))
    assert {"example", "empty", "away"} <= set(listed.text.split())
    assert page(await get(api, "/run", run="example")).one("h1").text.split()[0] == "example"


async def follow(api: Api, start: str) -> set[str]:
    """Every list and run that can be reached by links; each answers with a page, and so does a step of each run."""
    seen, todo = {start}, [start]
    while todo:
        response = await api.http.get(todo.pop())
        assert response.status_code == 200, f"{response.url}: {response.text}"
        links = Page(response.text).links()
        steps = [link for link in links if link.startswith("/v1/eval/step?")]
        for link in steps[:1]:
            assert (await api.http.get(link)).status_code == 200, link
        for link in links:
            if link.startswith(FOLLOWED) and link not in seen:
                seen.add(link)
                todo.append(link)
    return seen


async def test_every_link_leads_somewhere_whatever_the_names_are(api: Api, results: Path) -> None:
    for name in ODD_NAMES:
        write_run(results / "odd ones & more" / name, {"läuft <b>": few("läuft <b>", steps=1)})
    (results / os.fsdecode(b"\xff")).mkdir()
    for start in ("/v1/eval?per_page=4", f"/v1/eval?results_dir={results}/odd ones %26 more&per_page=4"):
        seen = await follow(api, start)
        named = {name for link in seen for name in parse_qs(urlsplit(link).query).get("run", [])}
        assert {name.rpartition("/")[2] for name in named} >= set(ODD_NAMES) - {"<b>x</b>"}
        assert any("page=3" in link for link in seen)


async def test_the_links_to_transcripts_name_run_preference_and_updates(api: Api, results: Path) -> None:
    name, preference = 'a "b" & <c>?#%/läuft', "<i> & é%"
    write_run(results / name, {preference: few(preference, steps=2)})
    folder = str(results)
    links = page(await get(api, "/run", run=name, results_dir=folder)).links()
    steps = [parse_qs(urlsplit(link).query) for link in links if link.startswith("/v1/eval/step?")]
    assert {step["updates"][0] for step in steps} == {"0", "1", "2"}
    for step in steps:
        assert (step["run"], step["preference"], step["results_dir"]) == ([name], [preference], [folder])


@pytest.mark.parametrize("index", range(18))
async def test_a_results_folder_outside_the_root_is_a_bad_request(api: Api, results: Path, index: int) -> None:
    asked = outside(results)[index]
    for address, query in (("", {}), ("/run", {"run": "example"})):
        refused = page(await get(api, address, results_dir=asked, **query), 400)
        assert "is outside of" in refused.text
    error(await get(api, "/plot", results_dir=asked, run="example", picture="x"), 400)


@pytest.mark.parametrize(
    ("run", "status", "said"),
    [
        ("..", 400, "run=.. is not a folder below"),
        ("../evals-other/inner", 400, "is not a folder below"),
        ("/etc", 400, "run=/etc is not a folder below"),
        ("away", 400, "run=away is not a folder below"),
        ("a\0b", 400, "is not a folder below"),
        (".", 400, "run=. is not a folder below"),
        ("nowhere", 404, "there is no run nowhere in"),
        ("<script>alert(1)</script>", 404, "there is no run <script>alert(1)</script> in"),
        ("a" * 3000, 404, "there is no run aaa"),
        ("empty", 422, "is not a run's folder: it holds no config.json"),
        ("example/concise", 422, "is not a run's folder: it holds no config.json"),
    ],
)
async def test_what_is_no_run_is_refused_on_a_page(api: Api, run: str, status: int, said: str) -> None:
    refused = page(await get(api, "/run", run=run), status)
    assert f"HTTP status {status}" in refused.text
    assert said in refused.text
    assert refused.barriers() == []
    assert "/v1/eval" in refused.links()


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"state": "done"}, 422, "unknown state 'done'; known: "),
        ({"verdict": "<b>"}, 422, "unknown verdict '<b>'; known: "),
        ({"sort": "size"}, 422, "unknown sort 'size'; known: "),
        ({"page": "2"}, 404, "page=2 is beyond the last page of the runs, which is page=1"),
        ({"page": "9" * 18}, 404, "is beyond the last page"),
    ],
)
async def test_what_cannot_be_listed_is_said_on_a_page(api: Api, query: dict[str, str], status: int, said: str) -> None:
    assert said in page(await get(api, "", **query), status).text


@pytest.mark.parametrize(
    ("address", "query", "field"),
    [
        ("", {"page": "0"}, "page"),
        ("", {"per_page": "201"}, "per_page"),
        ("", {"per_page": "x"}, "per_page"),
        ("", {"descending": "maybe"}, "descending"),
        ("/run", {}, "run"),
        ("/run", {"run": ""}, "run"),
        ("/plot", {"run": "example"}, "picture"),
    ],
)
async def test_a_parameter_of_the_wrong_kind_is_refused_by_name(
    api: Api, address: str, query: dict[str, str], field: str
) -> None:
    response = await get(api, address, **query)
    assert error(response, 422).startswith(f"{field}: ")


async def test_a_damaged_run_is_said_and_the_list_goes_on(api: Api, results: Path) -> None:
    (results / "example" / "config.json").write_bytes(b"{\xff")
    assert "config.json is damaged: byte 1 is not UTF-8" in page(await get(api, "/run", run="example"), 422).text
    listed = page(await get(api, ""))
    assert "config.json is damaged: byte 1 is not UTF-8" in listed.text


async def test_a_picture_of_a_run_is_served_as_such_and_nothing_else_is(api: Api, results: Path) -> None:
    (results / "example" / "plots").mkdir()
    (results / "example" / "plots" / "margin.png").write_bytes(b"\x89PNG")
    (results / "example" / "plots" / "away.png").symlink_to(results / "example" / "config.json")
    found = await get(api, "/plot", run="example", picture="margin")
    assert (found.status_code, found.headers["content-type"], found.content) == (200, "image/png", b"\x89PNG")
    assert found.headers["x-content-type-options"] == "nosniff"
    for picture in ("away", "../config", "nothing", "margin.png", "\0"):
        assert "the run has no picture called" in error(await get(api, "/plot", run="example", picture=picture), 404)
    error(await get(api, "/plot", run="nowhere", picture="margin"), 404)


async def test_where_there_are_no_results_yet_the_page_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, results_dir=str(tmp_path / "none")) as api:
        assert "No run is in" in page(await get(api, "")).text
        page(await get(api, "/run", run="x"), 404)


async def test_the_pages_are_for_the_holder_of_the_key(tmp_path: Path, results: Path, engine: FakeEngine) -> None:
    async with running(engine, settings(tmp_path, results_dir=str(results)), api_key="s3cret") as api:
        for address in ("", "/run?run=example", "/plot?run=example&picture=x"):
            error(await api.http.get(f"/v1/eval{address}"), 401)
        page(await api.http.get("/v1/eval", headers={"Authorization": "Bearer s3cret"}))
