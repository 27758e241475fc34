"""The chat page: talk, teach, see the same prompt before and after, go back to an earlier version."""

import itertools
import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.site import Site
from tests.browser.test_browser_access import COLOURS, violations
from tests.browser.visits import PHONE, Page, Profiles, Visit, Visitor, is_too_wide, tab_to

pytestmark = pytest.mark.browser

_names = (f"chat-{number}" for number in itertools.count())
REFUSED = "console error: Failed to load resource: the server responded with a status of"
FAILED = "console error: Failed to load resource: net::ERR_FAILED"


@pytest.fixture
def alias() -> str:
    """One that no other test teaches."""
    return next(_names)


def say(page: Page, prompt: str) -> None:
    page.locator("#prompt").fill(prompt)
    page.keyboard.press("Enter")
    page.locator(".turn").last.locator(".reply[aria-busy=false]").first.wait_for()


def teach(page: Page, feedback: str) -> None:
    learnt = page.locator(".lesson").count()
    page.locator(".teach input").last.fill(feedback)
    page.keyboard.press("Enter")
    page.locator(".lesson").nth(learnt).wait_for()
    page.locator("#turns[aria-busy=false]").wait_for()


def give_key(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")


def taught(page: Page) -> list[dict[str, Any]]:
    """The bodies of every request for an update, from now on."""
    sent: list[dict[str, Any]] = []

    def request(it: Any) -> None:
        if it.url.endswith("/v1/feedback"):
            sent.append(json.loads(it.post_data))

    page.on("request", request)
    return sent


def test_feedback_makes_a_version_and_the_prompt_is_answered_before_and_after(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        page.get_by_role("button", name="What is gravity?").click()
        page.get_by_text("before any feedback").wait_for()
        assert page.locator("#in-use").inner_text() == "version 0"
        sent = taught(page)
        page.get_by_role("button", name="Be more concise").click()
        assert page.locator(".teach input").input_value() == "Be more concise"
        teach(page, "Be more concise")
        assert page.locator("#in-use").inner_text() == "version 1"
        before, after = page.locator(".reply p").all_inner_texts()
        assert before.startswith(f"chat-{alias}@0 heard What is gravity?")
        assert after.startswith(f"chat-{alias}@1 heard What is gravity?")
        assert "“Be more concise”: version 1" in page.locator(".lesson").inner_text()
        (body,) = sent
        assert body["from_version"] is None
        assert (body["requests"][0]["response"], body["requests"][0]["feedback"]) == (before, "Be more concise")
        say(page, "And trees?")
        assert page.locator(".turn").last.locator("h3").inner_text().startswith("version 1")


def test_an_earlier_version_answers_again_and_what_is_taught_then_begins_there(
    visit: Visit, site: Site, alias: str
) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, "Hi")
        teach(page, "Shorter.")
        page.get_by_role("button", name="Use version 0").click()
        page.get_by_text("version 0 of 1").wait_for()
        assert httpx.get(f"{site.url}/v1/aliases/{alias}").json()["target"] == f"chat-{alias}@0"
        page.get_by_role("button", name="Ask version 0 the same").click()
        page.locator("#turns[aria-busy=false]").wait_for()
        assert [each.strip() for each in page.locator(".reply h3 b").all_inner_texts()] == ["earlier", "now"]
        sent = taught(page)
        teach(page, "Longer.")
        assert sent[0]["from_version"] == 0
        assert page.locator("#in-use").inner_text() == "version 2"
        assert page.locator("#version-list strong").all_inner_texts() == ["version 2", "version 1", "version 0"]
        assert page.locator("#version-list .why").first.inner_text() == "“Longer.”"
        assert httpx.get(f"{site.url}/v1/aliases/{alias}").json()["target"] == f"chat-{alias}"


def test_who_comes_back_finds_the_conversation_and_may_begin_another(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, "Hi")
        teach(page, "Shorter.")
        shown = page.locator("#turns").inner_text()
    with visit(f"/v1/chat?alias={alias}") as page:
        page.get_by_text("“Shorter.”", exact=True).wait_for()
        assert page.locator("#turns").inner_text() == shown
        page.get_by_role("button", name="New conversation").click()
        assert page.locator(".turn").count() == 0
        assert page.locator("#welcome").is_visible()
        say(page, "What is new?")
        assert page.locator(".reply").inner_text().startswith("version 1")


def test_an_update_whose_receipt_was_lost_is_not_made_twice(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}", ignored=[FAILED]) as page:
        say(page, "Hi")

        def lost(route: Any) -> None:
            route.fetch()
            route.abort()

        page.route("**/v1/feedback", lost, times=1)
        page.locator(".teach input").fill("Shorter.")
        page.get_by_role("button", name="Teach").click()
        page.get_by_text("The API does not answer").wait_for()
        page.get_by_role("button", name="Try again").click()
        page.locator(".lesson").wait_for()
        page.locator("#turns[aria-busy=false]").wait_for()
        assert page.locator("#in-use").inner_text() == "version 1"
        assert page.locator("#trouble").is_hidden()


@pytest.mark.parametrize(
    ("path", "status", "message", "said"),
    [
        ("chat/completions", 500, "out of memory", "The API failed (out of memory). Try again."),
        ("chat/completions", 400, "beyond the window", "Begin a new conversation."),
        ("feedback", 404, "not on record", "Ask again, then teach."),
        ("feedback", 409, "is being updated", "Something else is changing it at the moment (is being updated)."),
        ("feedback", 500, "loss was nan", "The API failed (loss was nan). Try again. Whether it learnt is not known;"),
    ],
)
def test_what_the_api_refuses_is_said_in_words_and_nothing_typed_is_lost(
    visit: Visit, alias: str, path: str, status: int, message: str, said: str
) -> None:
    with visit(f"/v1/chat?alias={alias}", ignored=[f"{REFUSED} {status} ({HTTPStatus(status).phrase})"]) as page:
        say(page, "Hi")

        def refuse(route: Any) -> None:
            route.fulfill(status=status, json={"detail": message})

        page.route(f"**/v1/{path}", refuse, times=1)
        if path == "feedback":
            page.locator(".teach input").fill("Shorter.")
            page.get_by_role("button", name="Teach").click()
        else:
            page.locator("#prompt").fill("And then?")
            page.keyboard.press("Enter")
        page.get_by_text(said).wait_for()
        if path == "feedback":
            assert page.locator(".lesson").count() == 0
        else:
            assert page.locator("#prompt").input_value() == "And then?"
            assert page.locator(".turn").count() == 1


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("none"), tmp_path_factory.mktemp("locked"), api_key="s3cret")
    site.start()
    yield site
    site.stop()


def test_a_key_is_asked_for_and_kept_for_the_tab(profiles: Profiles, locked: Site, tmp_path: Path, alias: str) -> None:
    visitor = Visitor(profiles, locked.url, tmp_path)
    with visitor.visit(f"/v1/chat?alias={alias}", ignored=[f"{REFUSED} 401 (Unauthorized)"]) as page:
        for key, after in (("a guess", "The API does not take this key."), ("s3cret", "none yet")):
            give_key(page, key)
            page.get_by_text(after).wait_for()
        assert page.locator("#key-form").is_hidden()
        say(page, "Hi")
        teach(page, "Shorter.")
        assert "s3cret" not in page.evaluate("JSON.stringify(localStorage) + document.documentElement.outerHTML")
        page.reload()
        page.get_by_text("before any feedback").wait_for()
        assert page.locator("#key-form").is_hidden()


def test_feedback_that_was_given_waits_for_the_key(
    profiles: Profiles, locked: Site, tmp_path: Path, alias: str
) -> None:
    visitor = Visitor(profiles, locked.url, tmp_path)
    with visitor.visit(f"/v1/chat?alias={alias}", ignored=[f"{REFUSED} 401 (Unauthorized)"]) as page:
        give_key(page, "s3cret")
        page.get_by_text("none yet").wait_for()
        say(page, "Hi")
        page.goto(f"{locked.url}/v1/chat?alias={alias}-left")  # the page that has answered may still be writing
        page.get_by_text("none yet").wait_for()
        page.evaluate(
            """(place) => {
                const kept = JSON.parse(localStorage.getItem(place));
                kept.turns[0].pending = { feedback: "Shorter.", key: "under-way" };
                localStorage.setItem(place, JSON.stringify(kept));
                sessionStorage.clear();
            }""",
            f"claas-chat/{alias}",
        )
        page.goto(f"{locked.url}/v1/chat?alias={alias}")
        page.locator("#key-form:not([hidden])").wait_for()
        assert page.locator(".learning").inner_text().startswith("Learning “Shorter.”")
        give_key(page, "s3cret")
        page.locator(".lesson").wait_for()
        page.locator("#turns[aria-busy=false]").wait_for()
        assert page.locator("#in-use").inner_text() == "version 1"


def test_a_lesson_that_is_refused_for_want_of_a_key_is_learnt_once_the_key_is_there(
    profiles: Profiles, locked: Site, tmp_path: Path, alias: str
) -> None:
    visitor = Visitor(profiles, locked.url, tmp_path)
    with visitor.visit(f"/v1/chat?alias={alias}", ignored=[f"{REFUSED} 401 (Unauthorized)"]) as page:
        give_key(page, "s3cret")
        page.get_by_text("none yet").wait_for()
        say(page, "Hi")
        keys: list[str] = []

        def request(it: Any) -> None:
            if it.url.endswith("/v1/feedback"):
                keys.append(it.headers["idempotency-key"])

        def refuse(route: Any) -> None:
            route.fulfill(status=401, json={"detail": "needs the header"})

        page.on("request", request)
        page.route("**/v1/feedback", refuse, times=1)
        page.locator(".teach input").fill("Shorter.")
        page.get_by_role("button", name="Teach").click()
        page.locator("#key-form:not([hidden])").wait_for()
        give_key(page, "s3cret")
        page.locator(".lesson").wait_for()
        page.locator("#turns[aria-busy=false]").wait_for()
        first, second = keys
        assert first == second
        assert page.locator("#in-use").inner_text() == "version 1"


def test_the_answer_after_a_lesson_waits_for_the_one_that_is_being_given(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, "Hi")
        page.evaluate(
            """() => {
                const asked = window.fetch;
                window.atOnce = window.most = 0;
                window.fetch = async (path, options) => {
                    if (!path.endsWith("/chat/completions")) return asked(path, options);
                    window.most = Math.max(window.most, ++window.atOnce);
                    if (options.body.includes("Bye")) await new Promise((go) => (window.go = go));
                    return asked(path, options).finally(() => window.atOnce--);
                };
            }"""
        )
        page.locator(".teach input").fill("Shorter.")
        page.get_by_role("button", name="Teach").click()
        page.locator("#prompt").fill("Bye")
        page.keyboard.press("Enter")
        page.locator(".lesson").wait_for()
        assert page.locator("#turns").get_attribute("aria-busy") == "true"
        page.evaluate("window.go()")
        page.locator("#turns[aria-busy=false]").wait_for()
        assert page.evaluate("window.most") == 1
        assert page.locator(".turn").first.locator(".reply").count() == 2
        assert page.locator(".turn").last.locator(".reply p").inner_text().startswith(f"chat-{alias}@")


def test_a_lesson_given_again_after_going_back_is_a_new_lesson(visit: Visit, site: Site, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, "Hi")
        for version in (1, 2):
            teach(page, "Shorter.")
            assert page.locator("#in-use").inner_text() == f"version {version}"
            assert httpx.get(f"{site.url}/v1/aliases/{alias}").json()["target"] == f"chat-{alias}"
            page.get_by_role("button", name="Use version 0").click()
            page.get_by_text(f"version 0 of {version}").wait_for()


def test_a_browser_that_keeps_nothing_talks_and_learns(visit: Visit, alias: str) -> None:
    with visit("/v1/eval") as page:
        page.add_init_script(
            """for (const name of ["localStorage", "sessionStorage"]) {
                Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
            }"""
        )
        page.goto(page.url.replace("/v1/eval", f"/v1/chat?alias={alias}"))
        say(page, "Hi")
        teach(page, "Shorter.")
        assert page.locator("#in-use").inner_text() == "version 1"
        assert page.get_by_text("This browser keeps no more").count() == 1
        assert page.locator("#unkept").is_visible()


def test_nothing_that_is_said_runs(visit: Visit, alias: str) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, hostile)
        teach(page, hostile)
        assert page.locator(".asked").inner_text() == hostile
        assert page.locator("#chat img, #chat script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_conversation_is_for_every_reader(visit: Visit, alias: str, scheme: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        say(page, "Hi")
        teach(page, "Shorter.")
        teach(page, "Longer.")
        say(page, "Bye")
        assert violations(page, None if scheme == "light" else COLOURS) == []


def test_everything_is_done_by_keyboard(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}") as page:
        say(page, "Hi")
        page.locator("h1").click()
        tab_to(page, ".teach input")
        page.keyboard.type("Shorter.")
        page.keyboard.press("Enter")
        page.locator(".lesson").wait_for()
        page.locator("#turns[aria-busy=false]").wait_for()
        assert page.evaluate("document.activeElement.matches('.teach input')")
        tab_to(page, "#prompt")
        page.keyboard.type("one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        assert page.locator("#prompt").input_value() == "one\ntwo"


def test_a_phone_shows_all_of_it(visit: Visit, alias: str) -> None:
    with visit(f"/v1/chat?alias={alias}", **PHONE) as page:
        say(page, "A word that is long: " + "x" * 80)
        teach(page, "Shorter.")
        assert not is_too_wide(page)
        assert not page.locator("#version-list").is_visible()
        page.get_by_text("Versions").tap()
        page.get_by_role("button", name="Use version 0").tap()
        page.get_by_text("version 0 of 1").wait_for()
