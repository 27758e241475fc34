"""A run's verdict as JUnit XML, which CI servers show among a change's tests, and as Markdown for a job's summary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from claas.core.errors import InvalidInput
from claas.core.files import read_text, write_atomically
from claas.results.manifest import Manifest, read_manifest
from claas.results.numbers import common_decimals, fixed, span
from claas.results.progress import printable
from claas.results.records import Status
from claas.results.run_files import RunFiles, parsed
from claas.results.summary import FILE_NAME as SUMMARY
from claas.results.summary import PreferenceSummary, Summary
from claas.results.verdict import Ruling, Verdict

FILE_NAME = "junit.xml"
SKIPPED, FAILURE = "skipped", "failure"
INCONCLUSIVE = (SKIPPED, FAILURE)
"""What an undecided criterion can be called, JUnit having no word for it."""


@dataclass(frozen=True)
class JudgedRun:
    """A run by the name of its folder."""

    name: str
    manifest: Manifest
    summary: Summary


def read_judged(folder: Path) -> JudgedRun:
    """The run in a folder; `InvalidInput` where it has come to no summary."""
    manifest, path = read_manifest(RunFiles(folder)), folder / SUMMARY
    if not path.exists():
        raise InvalidInput(
            f"{folder} has no {SUMMARY} yet, which a run's end writes; the run's own command goes on with it"
        )
    return JudgedRun(folder.resolve().name, manifest, parsed(path, read_text(path), Summary))


def write_junit(path: Path, runs: Sequence[JudgedRun], inconclusive: str = SKIPPED) -> None:
    """Replace the file by a suite of each run."""
    write_atomically(path, junit_of(runs, inconclusive))


def junit_of(runs: Sequence[JudgedRun], inconclusive: str = SKIPPED) -> str:
    """A suite for each run, and in it a case for each criterion of each preference.

    A preference that ended early is an error of its own, whose cases are undecided.
    """
    root = ElementTree.Element("testsuites", name="claas eval")
    suites = [_suite(run, inconclusive) for run in runs]
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(run: JudgedRun, inconclusive: str) -> ElementTree.Element:
    seconds = f"{sum(run.summary.timing_s.values()):.3f}"
    suite = ElementTree.Element(
        "testsuite", name=printable(run.name), timestamp=run.manifest.created.split("+")[0], time=seconds
    )
    about = {
        "verdict": run.summary.verdict,
        "base_model": run.summary.base_model,
        "seed": run.summary.seed,
        "git_commit": run.manifest.git_commit,
        **{f"version.{name}": version for name, version in run.manifest.versions.items()},
    }
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in about.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", name=name, value=printable(str(value)))
    cases = [case for name, found in _judged(run.summary) for case in _cases(run, name, found, inconclusive)]
    if run.summary.transfer is not None:
        cases.append(_case(run, "all preferences", "bwt", run.summary.transfer.ruling, run.summary, inconclusive))
    ended = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
    suite.set("tests", str(len(cases)))
    for kind, count in ended.items():
        suite.set(kind if kind == "skipped" else f"{kind}s", str(count))
    suite.extend(cases)
    return suite


def _judged(summary: Summary) -> list[tuple[str, PreferenceSummary]]:
    return [(name, found) for name, found in summary.preferences.items() if found.control_of is None]


def _cases(run: JudgedRun, name: str, found: PreferenceSummary, inconclusive: str) -> Iterable[ElementTree.Element]:
    if found.status is not Status.COMPLETE or not found.criteria:
        case = ElementTree.Element("testcase", classname=_class(run, name), name="the run")
        ElementTree.SubElement(case, "error", message=printable(found.reason), type=found.status.value)
        yield case
    for criterion, ruling in found.criteria.items():
        yield _case(run, name, criterion, ruling, run.summary, inconclusive)


def _case(
    run: JudgedRun, name: str, criterion: str, ruling: Ruling, summary: Summary, inconclusive: str
) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_class(run, name), name=printable(criterion))
    said = _in_words(criterion, ruling, summary.confidence)
    if ruling.verdict is Verdict.PASS:
        ElementTree.SubElement(case, "system-out").text = said
    elif ruling.verdict is Verdict.INCONCLUSIVE and inconclusive == SKIPPED:
        ElementTree.SubElement(case, "skipped", message=f"inconclusive: {said}")
    else:
        failure = ElementTree.SubElement(
            case, "failure", message=f"{ruling.verdict}: {said}", type=ruling.verdict.value
        )
        failure.text = printable(ruling.formula)
    return case


def _class(run: JudgedRun, name: str) -> str:
    return printable(f"{run.name}.{name}")


def _in_words(criterion: str, ruling: Ruling, confidence: float) -> str:
    """`heldout_compliance 0.891 (95 % CI 0.791 to 0.946), wanted >= 0.8, n = 64; needs n >= 134 to conclude`."""
    value, interval = _numbers(ruling)
    ci = f" ({100 * confidence:g} % CI {interval})" if interval else ""
    found = f"{value or 'not measured'}{ci}, wanted {ruling.relation} {ruling.threshold:g}, n = {ruling.n}"
    return printable(f"{criterion} {found}" + (f"; {ruling.note}" if ruling.note else ""))


def _numbers(ruling: Ruling) -> tuple[str, str]:
    """The value and the interval; empty where there is none."""
    decimals = common_decimals(filter(None, (ruling.value, *(ruling.ci or ()))))
    value = "" if ruling.value is None else fixed(ruling.value, decimals)
    return value, "" if ruling.interval is None else span(ruling.interval, decimals)


def markdown_of(runs: Sequence[JudgedRun]) -> str:
    """A table for each run, as a job's summary shows it."""
    return "\n".join(line for run in runs for line in _markdown(run))


def _markdown(run: JudgedRun) -> Iterable[str]:
    summary = run.summary
    yield f"### {_cell(run.name)}: {summary.verdict.upper()}"
    yield ""
    yield f"{_cell(str(summary.base_model))}, seed {summary.seed}"
    yield ""
    yield f"| preference | criterion | value | {100 * summary.confidence:g} % CI | wanted | n | verdict |"
    yield "|---|---|---|---|---|---|---|"
    rulings = [(name, each, ruling) for name, found in _judged(summary) for each, ruling in found.criteria.items()]
    if summary.transfer is not None:
        rulings.append(("all", "bwt", summary.transfer.ruling))
    for name, criterion, ruling in rulings:
        value, interval = _numbers(ruling)
        verdict = ruling.verdict.value if ruling.verdict is Verdict.PASS else f"**{ruling.verdict.value}**"
        wanted = f"{ruling.relation} {ruling.threshold:g}"
        yield f"| {_cell(name)} | {_cell(criterion)} | {value} | {interval} | `{wanted}` | {ruling.n} | {verdict} |"
    yield ""
    for name, found in _judged(summary):
        yield f"- {_cell(name)}: {found.verdict.value} ({_cell(found.reason)})"
    yield ""


def _cell(text: str) -> str:
    """Text that is no Markdown and no HTML."""
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>#|!" else each for each in printable(text))
