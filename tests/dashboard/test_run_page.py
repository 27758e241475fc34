"""The page of a run: what was found stands on it, for everybody, and nothing else does."""

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claas.dashboard.pages import Addresses, capitalized, control_pictures, title, worded
from claas.dashboard.run_list import RunQuery, runs_page
from claas.dashboard.run_page import SHOWN_ITEMS, run_page
from claas.eval.metrics.capability import General
from claas.results.keys import keys_of_schema_1, titles
from claas.results.numbers import duration
from tests.dashboard.page_reader import Page, rows
from tests.dashboard.written_runs import EXAMPLE, few, read, worked_on, write_run
from tests.results.synthetic_runs import Collapsing, make_history

TITLES = titles((*keys_of_schema_1(), *General.keys))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / EXAMPLE.name, ignore=shutil.ignore_patterns(".*"))


def page_of(folder: Path) -> Page:
    return Page(run_page(read(folder), Addresses()))


def same(shown: str, value: float | None) -> bool:
    """Whether a number is written to at least two significant digits."""
    if value is None:
        return shown == "–"
    return math.isclose(float(shown), value, rel_tol=0.05, abs_tol=5e-4)


def test_every_number_of_the_criteria_stands_on_the_page(example: Path) -> None:
    criteria = json.loads((example / "summary.json").read_text())["preferences"]["concise"]["criteria"]
    page = page_of(example)
    shown = {row[0]: row for row in rows(page.one("table", class_="criteria"))}
    assert list(shown) == [title(name, TITLES) for name in criteria]
    for name, ruling in criteria.items():
        _, verdict, value, interval, _, wanted, n, why = shown[title(name, TITLES)]
        assert same(value, ruling["value"])
        low, high = interval.split(" to ")
        assert same(low, ruling["ci"][0])
        assert same(high, ruling["ci"][1])
        assert wanted.split() == [{">=": "≥"}.get(ruling["relation"], ruling["relation"]), f"{ruling['threshold']:g}"]
        assert (n, verdict) == (str(ruling["n"]), ruling["verdict"])
        assert " ".join(ruling["formula"].split()) in why
        assert (ruling["note"] or "").lower() in why.lower()


def test_verdict_cost_items_and_settings_stand_on_the_page(example: Path) -> None:
    found = json.loads((example / "summary.json").read_text())
    concise = found["preferences"]["concise"]
    page = page_of(example)
    assert page.one("h1").text.split() == ["concise-3-steps", "complete", "inconclusive"]
    assert worded(concise["reason"], TITLES) in page.text
    for kind, changed in concise["changed_items"].items():
        told = f"{len(changed['lost'])} lost, {len(changed['gained'])} gained of {changed['n']}"
        assert f"{capitalized(title(kind, TITLES))}: {told}" in page.text
        for item in changed["lost"][:SHOWN_ITEMS]:
            answers = changed["answers"][item]
            for text in (item, answers["prompt"], answers["before"], answers["after"]):
                assert " ".join(text.split()) in page.text
    for phase, seconds in concise["timing_s"].items():
        assert f"{phase}{seconds:.4g}" in page.text.replace(" ", "")
    for number in (
        *concise["tokens"].values(),
        concise["adapter"]["digest"],
        "training.learning_rate",
        "0.0008",
        "torch",
    ):
        assert str(number) in page.text


def test_every_measurement_has_a_row_with_a_link_to_it(example: Path) -> None:
    page = page_of(example)
    (table,) = [each for each in page.all("table", class_="measured") if each.inside("details")]
    run = read(example)
    curve = run.histories["concise"].curve("heldout_compliance")
    shown = rows(table)
    assert [row[0] for row in shown] == ["baseline", "1", "2", "3"]
    assert all(same(row[2], curve[updates]) for updates, row in enumerate(shown))
    steps = [address for address in page.links() if address.startswith("/v1/eval/step?")]
    expected = [f"/v1/eval/step?run=concise-3-steps&preference=concise&updates={updates}" for updates in range(4)]
    assert steps == [expected[0], expected[-1], *expected]


def test_failures_and_problems_are_shown_where_they_belong(tmp_path: Path) -> None:
    histories = {"concise": few(steps=3), "identity": few("identity", steps=3, done=1, failure="the server is gone")}
    write_run(tmp_path / "run", histories)
    (tmp_path / "run" / "concise" / "metadata.json").write_text("{}")
    page = page_of(tmp_path / "run")
    errors = [each.text for each in page.all("p", class_="error")]
    assert len(errors) == 2
    assert "metadata.json cannot be read" in errors[0]
    assert errors[1] == "the server is gone"
    progress = rows(page.all("table", class_="measured")[0])
    assert [(row[0], row[1], row[-1]) for row in progress] == [
        ("concise", "3/3", "done"),
        ("identity", "1/3", "the server is gone"),
    ]


def test_a_collapse_is_shown_as_an_alarm(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": make_history(Collapsing(), steps=8, done=7)}, summarised=False)
    page = page_of(tmp_path / "run")
    assert {"collapse alert", "capability lost"} <= {each.text for each in page.all("span", class_="bad")}


def test_a_running_run_tells_how_far_it_is_and_a_stopped_one_how_to_go_on(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=4, done=2)}, preferences=["concise", "formal"], summarised=False)
    with worked_on(tmp_path / "run"):
        page = page_of(tmp_path / "run")
    left = re.search(r"about ([\d:]+) left", page.text)
    assert left is not None
    assert left[1] == duration(0.0), "these records were all written at once"
    progress = [(row[0], row[1], row[-1]) for row in rows(page.all("table", class_="measured")[0])]
    assert progress == [("concise", "2/4", "running"), ("formal", "0/4", "waiting")]
    assert page.one("h1").text.split() == ["run", "running"]
    assert "Nobody works on this run" not in page.text
    stopped = page_of(tmp_path / "run")
    assert "Nobody works on this run now" in stopped.text
    assert " left" not in stopped.one("h2", id="progress-title").text
    assert "Progress" not in page_of_complete(tmp_path).text


def page_of_complete(tmp_path: Path) -> Page:
    write_run(tmp_path / "complete", {"concise": few(steps=1)})
    return page_of(tmp_path / "complete")


def test_the_page_is_for_readers_without_eyes_scripts_and_the_net(example: Path) -> None:
    page = page_of(example)
    assert page.barriers() == []
    assert page.strange() == []
    assert all("//" not in value for each in page.elements for value in each.attributes.values())
    assert page.one("html").attributes["lang"] == "en"
    assert page.one("title").text == "concise-3-steps · CLaaS"
    assert page.one("meta", name="viewport")


HOSTILE = {
    "markup": "</td></code></p><script>alert(1)</script><img src=x onerror=alert(2)>",
    "attributes": """" onmouseover="alert(1)" x='`' """,
    "templates": "{{ 7 * 7 }}{% raw %}{# #}${x}",
    "references": "&lt;script&gt; &amp; &#60;b&#62; &unknown; &",
    "comments": "<!-- --> <![CDATA[ ]]> <?xml ?> <!doctype x> -->",
    "styles": "</style><style>*{display:none}</style></title><title>",
    "directions": "\u202e\u2066 עברית العربية \u200f\u061c",
    "letters": "🦊👩‍👩‍👧 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A \u0000\u0001\u001b[31m\u2028\ufeff\ufffe",
    "space": "\n\n\t  \r\n x \u00a0",
    "long": "a" * 100_000,
    "words": "word " * 20_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_shown_and_changes_nothing_of_the_page(tmp_path: Path, kind: str) -> None:
    """The page has the elements and attributes that it has with plain text in the same places."""
    plain, hostile = tmp_path / "plain" / "run", tmp_path / "hostile" / "run"
    write_with(plain, lambda text: f"{text} plain", lambda name: f"{name} plain")
    write_with(hostile, lambda text: f"{text} {HOSTILE[kind]}", lambda name: f"{name} {HOSTILE[kind][:100]}")
    html = run_page(read(hostile), Addresses())
    page = Page(html)
    assert shape(page) == shape(page_of(plain))
    assert page.strange() == page.barriers() == []
    assert len(html) < 1_000_000
    assert page.text.count(" ".join(control_pictures(HOSTILE[kind][:100]).split())) > 40, "it is there, as text"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)
    listed = Page(runs_page(hostile.parent, Addresses(), RunQuery()))
    assert shape(listed) == shape(Page(runs_page(plain.parent, Addresses(), RunQuery())))


def shape(page: Page) -> Counter[tuple[str, ...]]:
    return Counter((each.tag, *sorted(each.attributes)) for each in page.elements)


def write_with(folder: Path, spell: Callable[[str], str], name_it: Callable[[str], str]) -> None:
    """A run whose every free text is spelt by `spell`, and what only programs name by `name_it`."""
    failed = few("identity", steps=3, done=1, failure=spell("gone"))
    write_run(folder, {"concise": make_history(Collapsing(), steps=3), "identity": failed})
    for name in ("concise", "identity"):
        with changing(folder / name / "metadata.json") as metadata:
            metadata |= {"notes": [spell("note")], "lora_id": name_it("id")}
        with changing(folder / name / "baseline.json") as baseline:
            baseline["counts"] = named(baseline["counts"], name_it)
    with changing(folder / "config.json") as manifest:
        manifest |= {name: name_it("name") for name in ("run_id", "created", "git_commit")}
        manifest["versions"] = {name_it(name): name_it("1.0") for name in manifest["versions"]}
        manifest["config"] |= {name: spell("value") for name in ("output_dir", "claas_url", "config_dir")}
        manifest["config"] |= {"base_model": name_it("model"), "metrics": [spell("metric")]}
    with changing(folder / "summary.json") as summary:
        for found in summary["preferences"].values():
            respell(found, spell, name_it)


def respell(found: dict[str, Any], spell: Callable[[str], str], name_it: Callable[[str], str]) -> None:
    for ruling in found["criteria"].values():
        ruling |= {"note": spell("note"), "formula": name_it("formula"), "relation": name_it(">")}
    for changed in found["changed_items"].values():
        said = {item: {part: spell(text) for part, text in texts.items()} for item, texts in changed["answers"].items()}
        changed["answers"] = {spell(item): texts for item, texts in said.items()}
        changed |= {way: [spell(item) for item in changed[way]] for way in ("lost", "gained")}
    for part in ("criteria", "changed_items", "counts", "tokens", "timing_s"):
        found[part] = named(found[part], name_it)
    found["adapter"] = {"lora_id": name_it("id"), "digest": name_it("digest"), "version": 1}
    found |= {"reason": spell("reason"), "not_measured": [name_it("metric")]}


def named(values: dict[str, Any], name_it: Callable[[str], str]) -> dict[str, Any]:
    """The same under other names, but for those that something is looked up by."""
    looked_up = {"heldout_compliance", "knowledge_retention"}
    return {name if name in looked_up else name_it(name): value for name, value in values.items()}


@contextmanager
def changing(file: Path) -> Iterator[dict[str, Any]]:
    values = json.loads(file.read_text())
    yield values
    file.write_text(json.dumps(values))
