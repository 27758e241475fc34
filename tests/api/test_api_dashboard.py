"""The feedback page: what was said, trained and failed, newest first, in pages, and nothing that runs."""

import os
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest

from claas.core.errors import StackError
from claas.core.settings import TrainingConfig
from claas.wire.feedback import FeedbackLogEntry, LoggedItem
from tests.api.client import LORA, Api, error, item, running, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

HOSTILE = """</dd><script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7 * 7 }}{% raw %}"""


async def page_of(api: Api, **query: object) -> str:
    return html(await api.http.get("/v1/dashboard", params={name: str(value) for name, value in query.items()}))


def html(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def shown_prompts(page: str) -> list[str]:
    return re.findall(r"<dt>Prompt</dt><dd>(.*?)</dd>", page, re.DOTALL)


def write_batches(directory: Path, count: int) -> None:
    """A log of `count` batches, one a minute."""
    directory.mkdir(parents=True)
    for number in range(count):
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        one = LoggedItem(prompt=f"Prompt {number}", response="r", feedback="f", rollout_id="rollout-1", model="m@0")
        entry = FeedbackLogEntry(
            request_id=f"feedback-{number}",
            idempotency_key="k",
            time=time,
            lora_id=LORA,
            training=TrainingConfig(),
            items=[one],
        )
        (directory / f"{time:%Y%m%d-%H%M%S-%f}-feedback-{number}.json").write_text(entry.model_dump_json())


async def test_a_batch_is_shown_with_its_items_metrics_timing_and_version(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        first, second = await api.said("One"), await api.said("Two")
        receipt = await api.feedback(item("One", first), item("Two", second, feedback="No lists."), key="run/concise/0")
        page = unescape(await page_of(api))
    for text in (first.message.content, second.message.content, "Be brief.", "No lists.", "run/concise/0"):
        assert text in page
    for text in (
        receipt.request_id,
        receipt.digest,
        LORA,
        "version 1",
        "total_loss",
        "0.5",
        "eval-concise@0",
        "trained",
    ):
        assert text in page
    assert f"{first.rollout_id}" in page
    assert re.search(r"distill</th><td>3</td>", page)
    assert 'rel="next"' not in page


async def test_a_failed_batch_is_shown_with_its_error_and_above_what_came_before(
    tmp_path: Path, engine: FakeEngine
) -> None:
    def fail() -> None:
        raise StackError("out of memory at layer 3")

    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Earlier", await api.said("Earlier")))
        engine.before_save = fail
        error(await api.try_feedback(item("Later", await api.said("Later"))), 503)
        page = await page_of(api)
    assert shown_prompts(page) == ["Later", "Earlier"]
    assert page.index("failed") < page.index("out of memory at layer 3") < page.index("trained")


async def test_a_bug_in_the_engine_is_on_the_page_too(tmp_path: Path, engine: FakeEngine) -> None:
    def fail() -> None:
        raise KeyError("weights")

    engine.before_save = fail
    async with serving(tmp_path, engine) as api:
        assert "internal error: KeyError" in error(await api.try_feedback(item("Hi", await api.said("Hi"))), 500)
        assert "internal error: KeyError" in await page_of(api)


async def test_text_of_a_model_or_a_person_is_never_markup(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: HOSTILE

    def fail() -> None:
        raise StackError(HOSTILE)

    engine.before_save = fail
    async with serving(tmp_path, engine) as api:
        said = await api.said(HOSTILE)
        error(await api.try_feedback(item(HOSTILE, said, feedback=HOSTILE), key="<script>alert(3)</script>"), 503)
        (tmp_path / "feedback" / "<script>alert(4)<script>.json").write_text('{"<script>": 1}')
        response = await api.http.get("/v1/dashboard")
        page = html(response)
    assert "<script" not in page
    assert "<img" not in page
    assert unescape(page).count(HOSTILE) == 4
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy


async def test_the_page_needs_no_script_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    write_batches(tmp_path / "feedback", 3)
    async with serving(tmp_path) as api:
        page = await page_of(api, per_page=1)
    assert not re.search(r"<script|<link|\bstyle=|\bon\w+=|https?://|@import|url\(", page)
    sections = {"/v1/eval", "/v1/bench", "/v1/chat", "/v1/dashboard"}
    assert set(re.findall(r'href="(.*?)"', page)) == {"#main", "?page=2&amp;per_page=1", *sections}
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page


async def test_the_log_is_read_in_pages_newest_first(tmp_path: Path) -> None:
    write_batches(tmp_path / "feedback", 45)
    async with serving(tmp_path) as api:
        pages = [shown_prompts(await page_of(api, page=number)) for number in (1, 2, 3)]
        middle = await page_of(api, page=2, per_page=7)
        assert "page=4 is beyond the last" in error(await api.http.get("/v1/dashboard", params={"page": 4}), 404)
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [prompt for page in pages for prompt in page] == [f"Prompt {number}" for number in reversed(range(45))]
    assert shown_prompts(middle) == [f"Prompt {number}" for number in range(37, 30, -1)]
    assert "Page 2 of 7" in middle
    assert set(re.findall(r'rel="(\w+)" href="(.*?)"', middle)) == {
        ("prev", "?page=1&amp;per_page=7"),
        ("next", "?page=3&amp;per_page=7"),
    }


async def test_of_a_long_log_only_the_pages_own_files_are_read(tmp_path: Path) -> None:
    write_batches(tmp_path / "feedback", 5)
    for path in sorted((tmp_path / "feedback").iterdir())[:3]:
        path.write_text("not a batch")
    async with serving(tmp_path) as api:
        assert "unreadable" not in await page_of(api, per_page=2)
        assert (await page_of(api, per_page=2, page=2)).count('"mark bad">unreadable') == 2


async def test_files_that_are_no_batches_are_named_and_the_others_shown(tmp_path: Path) -> None:
    log = tmp_path / "feedback"
    write_batches(log, 1)
    (log / "a.json").mkdir()
    os.mkfifo(log / "e.json")
    (log / "b.json").write_bytes(b"\xff")
    (log / "c.json").write_text('{"items": [{"prompt": "\\ud800"}]}')
    (log / os.fsdecode(b"d\xff.json")).write_text("{}")
    (log / "f.json").write_text('{"request_id": "1", "timestamp_utc": "2026-02-25T10:00:00Z", "batch_samples": []}')
    (log / ".20260101-feedback.json.tmp").write_text("half written")
    async with serving(tmp_path) as api:
        page = await page_of(api)
    assert page.count("no batch of this version") == 6
    assert "a batch of kfallah/CLaaS that cannot be read: " in page
    assert shown_prompts(page) == ["Prompt 0"]


async def test_a_log_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "feedback").write_text("")
    async with serving(tmp_path) as api:
        said = error(await api.http.get("/v1/dashboard"), 503)
    assert said == f"cannot read the feedback log {tmp_path / 'feedback'}: Not a directory"


async def test_an_empty_log_is_a_page_that_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert "No feedback has been given yet" in await page_of(api)


@pytest.mark.parametrize(
    ("field", "value"),
    [("page", "0"), ("page", "-1"), ("page", "two"), ("page", ""), ("per_page", "0"), ("per_page", "201")],
)
async def test_a_bad_page_is_refused_by_name_and_value(tmp_path: Path, field: str, value: str) -> None:
    async with serving(tmp_path) as api:
        response = await api.http.get("/v1/dashboard", params={field: value})
    assert error(response, 422).startswith(f"{field}: ")
    assert (repr(value) in error(response, 422), response.json()["error"]["param"]) == (True, field)


async def test_a_very_long_text_is_cut_and_counted(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "a" * 100_000
    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Hi", await api.said("Hi")))
        page = await page_of(api)
    assert "(96000 more characters)" in page
    assert len(page) < 40_000


async def test_the_page_is_for_the_holder_of_the_key(tmp_path: Path, engine: FakeEngine) -> None:
    async with running(engine, settings(tmp_path), api_key="s3cret") as api:
        error(await api.http.get("/v1/dashboard"), 401)
        html(await api.http.get("/v1/dashboard", headers={"Authorization": "Bearer s3cret"}))
