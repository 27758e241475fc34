"""How every command speaks: one look of help, one JSON document, one way to end."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence

import pytest

from claas import __version__
from claas.core.errors import InvalidInput, StackError
from claas.core.output import Done, Failure, JsonDocument, Parser, Shown, ended, failure, voice_of
from tests.documents import document


@pytest.fixture
def root_logger() -> Generator[logging.Logger]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:], root.level = handlers, level


def noisy(arguments: Sequence[str]) -> Done:
    print("a table")
    os.write(1, b"a library written in C\n")
    subprocess.run([sys.executable, "-c", "print('a process that was started')"], check=True)
    return Done(4, {"value": 1})


def test_standard_output_is_the_document_whoever_prints(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended("claas.mine", noisy, ["--json"]) == 4
    printed = capfd.readouterr()
    found = document(printed)
    assert found == {
        "command": "claas.mine",
        "version": __version__,
        "exit_code": 4,
        "result": {"value": 1},
        "error": None,
    }
    assert JsonDocument.model_validate(found).result == {"value": 1}
    for said in ("a table", "a library written in C", "a process that was started"):
        assert said in printed.err


def test_without_json_results_are_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended("claas.mine", noisy, []) == 4
    printed = capfd.readouterr()
    assert "a table" in printed.out
    assert printed.err == ""


def raising(error: BaseException) -> Callable[[Sequence[str]], Done]:
    def run(arguments: Sequence[str]) -> Done:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "cause", "mend"),
    [
        (InvalidInput("no such key; did you mean\nseed?"), 2, "no such key", "did you mean seed?"),
        (StackError("the server died"), 3, "the server died", None),
        (asyncio.CancelledError(), 3, "terminated", "the same command again continues"),
        (KeyboardInterrupt(), 130, "interrupted", None),
    ],
)
def test_a_failure_is_a_document_with_its_cause_and_what_to_do(
    capfd: pytest.CaptureFixture[str], error: BaseException, code: int, cause: str, mend: str | None
) -> None:
    assert ended("claas.mine", raising(error), ["--json"]) == code
    found = document(capfd.readouterr())
    assert (found["exit_code"], found["result"]) == (code, None)
    assert found["error"] == {"cause": cause, "mend": mend}


def test_what_can_be_continued_says_so_whatever_ended_it(capfd: pytest.CaptureFixture[str]) -> None:
    for error, cause in ((StackError("it died"), "it died"), (KeyboardInterrupt(), "interrupted")):
        ended("claas.mine", raising(error), [], continues=True)
        assert capfd.readouterr().err == f"claas.mine: {cause}; the same command again continues\n"


def test_a_bug_is_a_document_too_and_raised(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        ended("claas.mine", raising(ZeroDivisionError()), ["--json"])
    found = document(capfd.readouterr())
    assert found["exit_code"] == 1
    assert found["error"]["cause"].startswith("a bug")


def test_a_message_is_taken_apart_where_it_says_what_to_do() -> None:
    assert failure("a; b; c") == Failure(cause="a", mend="b; c")
    assert failure("a") == Failure(cause="a", mend=None)
    assert failure(None) is None


def test_whoever_reads_may_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys\nfrom claas.core.output import Done, ended\n"
    code += "sys.exit(ended('claas.mine', lambda arguments: print('a') or Done(), []))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_quiet_has_no_progress_and_verbose_has_what_libraries_log(
    capsys: pytest.CaptureFixture[str], root_logger: logging.Logger
) -> None:
    voice_of(["-q", "seed=1"]).progress("claas.mine")("half done")
    assert capsys.readouterr().err == ""
    voice_of([]).progress("claas.mine")("half done")
    assert capsys.readouterr().err == "claas.mine: half done\n"

    def logging_run(arguments: Sequence[str]) -> Done:
        root_logger.info("connected")
        root_logger.debug("a byte")
        return Done()

    for flags, said in (([], ""), (["-v"], "connected"), (["-vv"], "a byte")):
        ended("claas.mine", logging_run, flags)
        assert said in capsys.readouterr().err
    assert root_logger.level == logging.DEBUG


def test_flags_are_found_among_arguments_of_any_kind() -> None:
    voice = voice_of(["seed=1", "--config-dir", "x", "--json", "-m", "~prices", "-v", "+a=b", "--quiet", "-v"])
    assert (voice.as_json, voice.quiet, voice.verbosity) == (True, True, 2)


def test_help_shows_arguments_with_their_meaning_default_and_the_flags_of_all() -> None:
    parser = Parser("claas mine", "Do it.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders")
    parser.add_argument("--by", metavar="SETTING", default="seed", help="what to compare")
    with pytest.raises(Shown) as shown:
        parser.parsed(["--help", "--nonsense"])
    lines = shown.value.text.splitlines()
    assert lines[:3] == ["claas mine RUN ... [options]", "", "Do it."]
    assert "RUN ...        folders" in lines
    assert "--by SETTING   what to compare (default: seed)" in lines
    assert [line.split()[0].strip(",") for line in lines[-5:]] == [
        *("--json", "--quiet", "--verbose", "--version", "--help")
    ]
    with pytest.raises(Shown, match=__version__):
        parser.parsed(["-V"])
    with pytest.raises(InvalidInput, match="required: RUN"):
        parser.parsed([])
