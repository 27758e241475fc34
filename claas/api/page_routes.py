"""The pages: the feedback log, the runs, and the files that pages load."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import AfterValidator

from claas.api.errors import error_body, reply
from claas.api.guards import LABELS, require_own_origin
from claas.api.services import Served, Services
from claas.core.checks import alias_name
from claas.core.concurrency import Threads
from claas.core.errors import ClaasError, Forbidden
from claas.dashboard.assets import ASSET_HEADERS, ASSETS_ADDRESS, asset_served_as
from claas.dashboard.benchmark_item_page import ItemFilter, ItemQuery
from claas.dashboard.chat_page import CHAT_PAGE_HEADERS, chat_page
from claas.dashboard.cohort_page import CohortAddresses, CohortQuery, benchmark_item_page, cohort_csv_of, cohort_page
from claas.dashboard.compare_page import compare_page, require_comparable
from claas.dashboard.feedback import feedback_page
from claas.dashboard.pages import (
    BENCH_ROOT,
    CHART_PAGE_HEADERS,
    CHAT,
    PAGE_HEADERS,
    ROOT,
    Addresses,
    error_page,
    render,
)
from claas.dashboard.run_list import RunQuery, runs_page
from claas.dashboard.run_page import foreign_run_page, plot_file, run_page
from claas.dashboard.step_choice import StepQuery, TranscriptFilter
from claas.dashboard.step_page import recorded_step_page
from claas.results.foreign import is_of_kfallah_claas, read_foreign_run
from claas.results.labels import change_labels_of
from claas.results.run_index import RunIndex, read_run, results_folder, run_folder
from claas.wire import Count
from claas.wire.adapters import ErrorBody
from claas.wire.labels import LabelsRequest, LabelsResponse, RunLabels

router = APIRouter()

_THREADS = Threads("pages", 4)
"""Threads for pages, which read files: if files are slow, only pages wait."""

Page = Annotated[Count, Query(ge=1)]
PerPage = Annotated[int, Query(ge=1, le=200)]


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    """No content: browsers ask for an icon with every page, and there is none."""
    return Response(status_code=204)


@router.get("/docs", response_model=None, responses={200: {"content": {"text/html": {}}}})
async def endpoints(request: Request) -> HTMLResponse:
    """The endpoints of this API as a page."""
    schema: dict[str, Any] = request.app.openapi()
    return HTMLResponse(render("endpoints.html", paths=schema["paths"]), headers=PAGE_HEADERS)


@router.get("/v1/dashboard", response_model=None, responses={200: {"content": {"text/html": {}}}})
async def dashboard(served: Served, page: Page = 1, per_page: PerPage = 20) -> HTMLResponse:
    """The feedback log as a page, newest batch first."""
    shown = await _THREADS.run(feedback_page, served.feedback_log.directory, page, per_page)
    return HTMLResponse(shown, headers=PAGE_HEADERS)


AliasName = Annotated[str, Query(description="the alias to talk to and to teach"), AfterValidator(alias_name)]


@router.get(CHAT, response_model=None, responses={200: {"content": {"text/html": {}}}})
async def chat(alias: AliasName = "assistant") -> HTMLResponse:
    """A chat in which feedback changes the weights, as a page."""
    return HTMLResponse(chat_page(alias), headers=CHAT_PAGE_HEADERS)


eval_router = APIRouter(prefix=ROOT)

Replies: TypeAlias = dict[int | str, dict[str, Any]]

_ERROR: dict[str, Any] = {"model": ErrorBody, "content": {"text/html": {}}}
_HTML: Replies = {200: {"content": {"text/html": {}}}, "4XX": _ERROR, "5XX": _ERROR}
_PNG: Replies = {200: {"content": {"image/png": {}}}}

ResultsDir = Annotated[str | None, Query(description="a folder of runs, inside the one that this API shows")]
IfNoneMatch = Annotated[str | None, Header()]
Run = Annotated[str, Query(min_length=1, description="a run's folder, below results_dir")]


@eval_router.get("", response_model=None, responses=_HTML)
async def runs(
    served: Served,
    results_dir: ResultsDir = None,
    q: str = "",
    state: str = "",
    verdict: str = "",
    tag: str = "",
    archived: bool = False,
    sort: str = "started",
    descending: bool = True,
    page: Page = 1,
    per_page: PerPage = 50,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All runs of a folder as a page, newest first; 304 if the client has it already."""

    def make() -> str:
        query = RunQuery(q, state, verdict, tag, archived, sort, descending, page, per_page)
        return runs_page(results_folder(served.results_root, results_dir), Addresses(results_dir), query)

    return _unless_known(await _page(make, CHART_PAGE_HEADERS), if_none_match)


@eval_router.post(LABELS, response_model=LabelsResponse)
async def label_runs(served: Served, asked: LabelsRequest, request: Request) -> Response:
    """Change runs' tags, notes, and whether they are archived; no measurement is touched."""
    if not served.edit_labels:
        raise Forbidden("this API changes no labels: it was started with edit_labels=false")
    require_own_origin(request)
    results = results_folder(served.results_root, asked.results_dir)

    def change() -> LabelsResponse:
        folders = {run: run_folder(results, run) for run in asked.runs}
        changed = change_labels_of(folders, asked.add, asked.remove, asked.note, asked.archived)
        return LabelsResponse(
            labels={run: RunLabels.model_validate(each.model_dump(mode="json")) for run, each in changed.items()}
        )

    return reply(await _THREADS.run(change))


@eval_router.get("/run", response_model=None, responses=_HTML)
async def run_details(
    served: Served, run: Run, results_dir: ResultsDir = None, if_none_match: IfNoneMatch = None
) -> Response:
    """One run as a page; 304 if the client has it already."""

    def make() -> str:
        folder = _folder(served, results_dir, run)
        if not (folder / "config.json").exists() and is_of_kfallah_claas(folder):
            return foreign_run_page(read_foreign_run(run, folder), Addresses(results_dir))
        return run_page(read_run(run, folder), Addresses(results_dir))

    return _unless_known(await _page(make, CHART_PAGE_HEADERS), if_none_match)


@eval_router.get("/compare", response_model=None, responses=_HTML)
async def compared_runs(
    served: Served,
    run: Annotated[
        list[str], Query(description="two or more; the first is what the others are held against", default_factory=list)
    ],
    results_dir: ResultsDir = None,
) -> Response:
    """Runs side by side as a page."""

    def make() -> str:
        require_comparable(run)
        return compare_page([_run(served, results_dir, each) for each in run], Addresses(results_dir))

    return await _page(make, CHART_PAGE_HEADERS)


@eval_router.get("/step", response_model=None, responses=_HTML)
async def step_details(
    served: Served,
    run: Run,
    preference: Annotated[str, Query(min_length=1)],
    updates: Annotated[Count, Query(description="0 is the baseline")] = 0,
    metric: str | None = None,
    only: TranscriptFilter | None = None,
    item: str | None = None,
    page: Page = 1,
    results_dir: ResultsDir = None,
) -> Response:
    """The measurements after a number of updates, with their transcripts, as a page."""
    query, addresses = StepQuery(updates, metric, only, item, page), Addresses(results_dir)
    return await _page(lambda: recorded_step_page(_run(served, results_dir, run), preference, query, addresses))


@eval_router.get("/plot", response_model=None, responses=_PNG)
async def plot(served: Served, run: Run, picture: str, results_dir: ResultsDir = None) -> Response:
    """A picture of a run's plots folder."""
    found = await _THREADS.run(lambda: plot_file(_folder(served, results_dir, run), picture))
    return FileResponse(found, media_type="image/png", headers=PAGE_HEADERS)


bench_router = APIRouter(prefix=BENCH_ROOT)

BenchDir = Annotated[str | None, Query(description="a folder of benchmark runs, inside the one that this API shows")]


@bench_router.get("", response_model=None, responses=_HTML)
async def benchmarks(
    served: Served,
    results_dir: BenchDir = None,
    sort: str = "when",
    descending: bool = True,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All benchmark runs of a folder as a page, with comparable runs in one table."""

    def make() -> str:
        root = results_folder(served.bench_root, results_dir)
        return cohort_page(root, CohortAddresses(results_dir), CohortQuery(sort, descending))

    return _unless_known(await _page(make, CHART_PAGE_HEADERS), if_none_match)


@bench_router.get("/items", response_model=None, responses=_HTML)
async def benchmark_items(
    served: Served,
    run: Annotated[str, Query(min_length=1, description="a run's name")],
    task: Annotated[str, Query(min_length=1)],
    at: Annotated[str | None, Query(description="its timestamp; the newest of the name when left out")] = None,
    only: ItemFilter | None = None,
    page: Page = 1,
    results_dir: BenchDir = None,
) -> Response:
    """The items of one task of a benchmark run with the base model's answers, those that turned first, as a page."""

    def make() -> str:
        root = results_folder(served.bench_root, results_dir)
        return benchmark_item_page(root, CohortAddresses(results_dir), run, task, ItemQuery(only, page), at)

    return await _page(make)


@bench_router.get("/csv", response_model=None, responses={200: {"content": {"text/csv": {}}}})
async def benchmarks_csv(served: Served, results_dir: BenchDir = None) -> Response:
    """All benchmark runs of a folder as CSV, a line for each task of each run."""
    text = await _THREADS.run(lambda: cohort_csv_of(results_folder(served.bench_root, results_dir)))
    headers = {**PAGE_HEADERS, "Content-Disposition": 'attachment; filename="cohort.csv"'}
    return Response(text, media_type="text/csv", headers=headers)


async def _page(make: Callable[[], str], headers: Mapping[str, str] = PAGE_HEADERS) -> Response:
    """The page that `make` renders, in a thread; an error becomes a page, too."""
    try:
        return HTMLResponse(await _THREADS.run(make), headers=dict(headers))
    except ClaasError as error:
        status, body = error_body(error)
        return HTMLResponse(error_page(status, body.error.message), status_code=status, headers=PAGE_HEADERS)


def _unless_known(reply: Response, if_none_match: str | None) -> Response:
    """The reply with an ETag of its content, or 304 if the client has it already."""
    etag = f'"{hashlib.sha256(reply.body).hexdigest()}"'
    if reply.status_code == 200 and if_none_match == etag:
        return Response(status_code=304, headers={"ETag": etag})
    reply.headers["ETag"] = etag
    return reply


def _run(served: Services, results_dir: str | None, run: str) -> RunIndex:
    return read_run(run, _folder(served, results_dir, run))


def _folder(served: Services, results_dir: str | None, run: str) -> Path:
    return run_folder(results_folder(served.results_root, results_dir), run)


_SCRIPT = "text/javascript; charset=utf-8"


@router.get(f"{ASSETS_ADDRESS}/{{name}}", response_model=None, responses={200: {"content": {"text/javascript": {}}}})
async def eval_asset(name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """A script that the pages load, under a name that changes with its content."""
    found = await _THREADS.run(asset_served_as, name)
    if _takes_gzip(accept_encoding):
        headers = {**ASSET_HEADERS, "Content-Encoding": "gzip"}
        return Response(found.gzipped, media_type=_SCRIPT, headers=headers)
    content = await _THREADS.run(lambda: found.content)
    return Response(content, media_type=_SCRIPT, headers=ASSET_HEADERS)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, and not with a weight of 0."""
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
