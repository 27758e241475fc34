"""Several runs as a folder of pages: everything in it leads somewhere in it, nothing private goes along, and nothing of
anybody else's is written over."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from claas.core.errors import InvalidInput
from claas.dashboard import bundle
from claas.dashboard.bundle import main, write_bundle
from claas.dashboard.private import Private, shared_message, shared_run
from claas.results.labels import change_labels
from claas.results.run_files import RunFiles
from claas.results.run_index import read_run
from tests.dashboard.page_reader import Page
from tests.dashboard.written_runs import few, write_run

KEY = "sk-this-is-the-key-of-somebody"


@pytest.fixture(scope="module")
def evals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of one setting, one of which knows where it was made, and a run of something else."""
    folder = tmp_path_factory.mktemp("somewhere") / "evals"
    for seed in (1, 2, 3):
        write_run(
            folder / f"seed {seed}",
            {"concise": few(steps=1)},
            created=f"2026-01-0{seed}T00:00:00+00:00",
            seed=seed,
            output_dir=str(folder / f"seed {seed}"),
            claas_url="http://10.1.2.3:8080",
            base_model="/models/of/mine/qwen",
        )
    write_run(folder / "other", {"identity": few("identity", steps=1)}, created="2026-01-09T00:00:00+00:00")
    change_labels(folder / "seed 1", add=["paper"], note="<b>the one</b>")
    failure = f"cannot read {folder}/seed 2/stack/adapters: no such file; asked http://10.1.2.3:8080/v1"
    summary = json.loads((folder / "seed 2" / "summary.json").read_text())
    summary["preferences"]["concise"]["failure"] = failure
    (folder / "seed 2" / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="module")
def site(evals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("shared") / "site"
    os.environ["SOME_API_KEY"] = KEY
    files = RunFiles(evals / "seed 3")
    known = files.config.read_text()
    assert '"base_source": null' in known
    files.config.write_text(known.replace('"base_source": null', f'"base_source": "from {KEY} there"'))
    try:
        written = write_bundle([evals], into)
    finally:
        del os.environ["SOME_API_KEY"]
    assert (written.runs, written.comparisons) == (4, 7)
    assert written.size == sum(path.stat().st_size for path in into.rglob("*.*") if path.name != "bundle.json")
    return into


def pages(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}


def test_every_address_leads_to_a_file_of_the_folder(site: Path) -> None:
    led: set[Path] = set()
    for name, html in pages(site).items():
        for element in Page(re.sub(r"data-text|data-runs", "title", html)).elements:
            for attribute in ("href", "src"):
                address = element.attributes.get(attribute, "")
                if address and not address.startswith(("#", "data:")):
                    found = (site / name).parent / unquote(address)
                    assert found.is_file(), (name, address)
                    led.add(found.resolve())
    assert led >= {path.resolve() for path in site.rglob("*") if path.suffix in (".js", ".html")}


def test_every_run_and_comparison_is_there(site: Path) -> None:
    assert set(pages(site)) == {
        "index.html",
        *(f"run/{name}.html" for name in ("seed-1", "seed-2", "seed-3", "other")),
        "compare/all.html",
        *(f"compare/other--seed-{seed}.html" for seed in (1, 2, 3)),
        *(f"compare/seed-{one}--seed-{other}.html" for one, other in ((3, 2), (3, 1), (2, 1))),
    } | {name for name in pages(site) if name.startswith("seeds/")}
    index = pages(site)["index.html"]
    assert "&lt;b&gt;the one&lt;/b&gt;" in index
    assert "paper" in index
    assert "training.learning_rate=0.0008" in index, "what is searched"


def test_nothing_of_the_machine_goes_along(site: Path, evals: Path) -> None:
    for name, html in pages(site).items():
        for private in (str(evals), str(evals.parent), str(Path.cwd()), "10.1.2.3", "/models/of", KEY):
            assert private not in html, (name, private)
    assert "qwen" in pages(site)["run/seed-1.html"], "what it is called does"


def test_what_is_private_and_short_is_hidden_by_the_field_it_stands_in(tmp_path: Path) -> None:
    settings = {"output_dir": "/w/a", "claas_url": "http://h:1", "logger": {"own": {"project": "p9"}}}
    write_run(tmp_path / "run", {"concise": few(steps=1)}, **settings)
    shared = shared_run(read_run("run", tmp_path / "run"))
    values = shared.manifest.config
    assert not {"output_dir", "claas_url", "logger"} & set(values)
    assert shared_message("no http://h:1/v1, no /w/runs/a, password=pw") == "no (an address) no …/a, password=[key]"
    assert Private(("/w",), ()).hidden_in("<p>/w, /w/runs, /web, a/w</w>") == "<p>…, …/runs, /web, a/w</w>"


def test_without_transcripts_nothing_that_was_said_is_there(evals: Path, tmp_path: Path) -> None:
    write_bundle([evals / "seed 1", evals / "seed 2"], tmp_path / "site", transcripts=False)
    history = few(steps=1)
    assert history.baseline is not None
    said = {text for rollout in history.baseline.rollouts for text in (rollout.response,) if text and len(text) > 8}
    assert said
    for name, html in pages(tmp_path / "site").items():
        assert "text/plain" not in html
        assert not [text for text in said if text in html], name


def test_runs_of_like_and_of_long_names_have_comparisons_of_their_own(tmp_path: Path) -> None:
    names = ["a", "b--c", "a--b", "c", "d" * 200, "d" * 201]
    for name in names:
        write_run(tmp_path / "evals" / name, {"concise": few(steps=1)})
    write_bundle([tmp_path / "evals"], tmp_path / "site", transcripts=False)
    written = [name for name in pages(tmp_path / "site") if name.startswith("compare/")]
    assert len(written) == 1 + len(names) * (len(names) - 1) // 2


def test_what_is_no_bundle_is_not_written_over(evals: Path, tmp_path: Path) -> None:
    for name in ("mine.txt", "index.html", "bundle.json"):
        into = tmp_path / name.replace(".", "-")
        into.mkdir()
        (into / name).write_text("mine")
        with pytest.raises(InvalidInput, match="is no bundle; name an empty folder"):
            write_bundle([evals / "other"], into)
        assert [(path.name, path.read_text()) for path in into.iterdir()] == [(name, "mine")]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="is no folder"):
        write_bundle([evals / "other"], tmp_path / "file")


def test_a_bundle_is_replaced_and_what_somebody_added_stays(evals: Path, tmp_path: Path) -> None:
    into = tmp_path / "site"
    into.mkdir()
    write_bundle([evals / "seed 1", evals / "seed 2"], into)
    (into / "CNAME").write_text("example.org")
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    mark = json.loads((into / "bundle.json").read_text())
    mark["files"] += ["../outside.html", "/etc/passwd", "run/../../outside.html"]
    (into / "bundle.json").write_text(json.dumps(mark))
    write_bundle([evals / "seed 2"], into)
    assert set(pages(into)) == {"index.html", "run/seed-2.html"}
    assert (into / "CNAME").read_text() == "example.org"
    assert outside.read_text() == "mine"


def test_nothing_is_written_through_a_link(evals: Path, tmp_path: Path) -> None:
    into, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_bundle([evals / "other"], into)
    for path in (into / "run").iterdir():
        path.unlink()
    (into / "run").rmdir()
    (into / "run").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="is a link, which would lead outside"):
        write_bundle([evals / "other"], into)
    assert list(elsewhere.iterdir()) == []


def test_one_that_was_interrupted_is_made_anew_by_the_same_command(
    evals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "site"

    def stopped(*runs: object, **how: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bundle, "comparison_page", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_bundle([evals / "seed 1", evals / "seed 2"], into)
    assert not (into / "index.html").exists()
    write_bundle([evals / "other"], into)
    assert set(pages(into)) == {"index.html", "run/other.html"}


def test_archived_runs_go_along_only_by_name(evals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_labels(evals / "other", archived=True)
    try:
        assert main([str(evals), "-o", str(tmp_path / "site"), "--no-transcripts", "--title", "Mine"]) == 0
        assert "3 runs, 4 comparisons, " in capsys.readouterr().out
        assert "<h1>Mine</h1>" in (tmp_path / "site" / "index.html").read_text()
        assert main([str(evals / "other"), "-o", str(tmp_path / "one")]) == 0
    finally:
        change_labels(evals / "other", archived=False)
    assert main([str(evals / "none"), "-o", str(tmp_path / "two")]) == 2
    assert not (tmp_path / "two").exists()
