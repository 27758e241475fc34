"""`GET /v1/bench` and what is below it, over HTTP: what is answered, with which headers, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.client import Api, error, serving
from tests.api.test_api_eval_pages import page
from tests.dashboard.test_cohort import HALF, WORSE, write
from tests.dashboard.test_results_folders import outside

pytestmark = pytest.mark.anyio


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A base model and an adapter, on two tasks."""
    root = tmp_path / "evals"
    write(root, "base", {"mmlu": HALF, "gsm8k": HALF})
    write(root, "sft", {"mmlu": WORSE, "gsm8k": HALF}, when=2)
    (tmp_path / "evals-other" / "inner").mkdir(parents=True)
    (root / "away").symlink_to(tmp_path / "evals-other")
    return root


@pytest.fixture
async def api(tmp_path: Path, results: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, bench_dir=str(results)) as api:
        yield api


async def test_every_link_leads_somewhere(api: Api) -> None:
    seen, todo = {"/v1/bench"}, ["/v1/bench"]
    while todo:
        response = await api.http.get(todo.pop())
        if response.headers["content-type"].startswith("text/csv"):
            continue
        new = {link for link in page(response).links() if link.startswith("/v1/bench")} - seen
        seen |= new
        todo += [link.partition("#")[0] for link in new]
    assert any("run=base&at=2026-01-01" in link and "task=gsm8k" in link for link in seen)
    assert any("sort=mmlu" in link for link in seen)
    assert any("only=fell&page=2" in link for link in seen)


async def test_the_tables_come_as_csv_to_be_kept(api: Api) -> None:
    response = await api.http.get("/v1/bench/csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="cohort.csv"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert [line.split(",")[1] for line in response.text.splitlines()] == ["run", "sft", "sft", "base", "base"]


async def test_a_page_is_sent_again_only_when_it_has_changed(api: Api, results: Path) -> None:
    first = await api.http.get("/v1/bench")
    known = {"If-None-Match": first.headers["etag"]}
    assert (await api.http.get("/v1/bench", headers=known)).status_code == 304
    write(results, "more", {"mmlu": WORSE}, when=3)
    assert (await api.http.get("/v1/bench", headers=known)).status_code == 200


async def test_a_folder_without_runs_says_how_to_make_one(api: Api, results: Path) -> None:
    (results / "inner").mkdir()
    read = page(await api.http.get("/v1/bench", params={"results_dir": str(results / "inner")}))
    assert "No completed run is in" in read.text


async def test_a_half_written_file_is_a_page_that_says_so(api: Api, results: Path) -> None:
    (results / "metrics.json").write_text('{"runs": [')
    assert "metrics.json cannot be read" in page(await api.http.get("/v1/bench"), 422).text
    assert "metrics.json cannot be read" in error(await api.http.get("/v1/bench/csv"), 422)


async def test_a_folder_outside_the_root_is_a_bad_request(api: Api, results: Path) -> None:
    for asked in ({"results_dir": folder} for folder in outside(results)):
        for address, query in (("", {}), ("/items", {"run": "sft", "task": "mmlu"})):
            refused = await api.http.get(f"/v1/bench{address}", params={**query, **asked})
            assert "is outside of" in page(refused, 400).text
        error(await api.http.get("/v1/bench/csv", params=asked), 400)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"run": "nobody", "task": "mmlu"}, 404),
        ({"run": "../base", "task": "mmlu"}, 404),
        ({"run": "sft", "task": "../mmlu"}, 404),
        ({"run": "sft", "task": "mmlu", "page": "99"}, 404),
        ({"run": "sft", "task": "mmlu", "at": "yesterday"}, 404),
    ],
)
async def test_items_that_are_not_there_are_not_found(api: Api, query: dict[str, str], status: int) -> None:
    page(await api.http.get("/v1/bench/items", params=query), status)


async def test_a_column_that_is_not_there_is_refused_with_those_that_are(api: Api) -> None:
    said = page(await api.http.get("/v1/bench", params={"sort": "hellaswag"}), 422).text
    assert "there are average, gsm8k, mmlu, model, when" in said


async def test_only_this_machine_may_ask(api: Api) -> None:
    assert (await api.http.get("/v1/bench", headers={"Host": "evil.example"})).status_code >= 400
