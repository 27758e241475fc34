"""The conventions of all commands: common flags, help, standard output, and exit codes.

Results are on standard output, progress and mistakes on standard error. With --json standard output has one
`JsonDocument` and nothing else, whatever a library, or a process that was started, prints.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict

from claas import __version__
from claas.core.errors import ClaasError, ExitCode, InvalidInput, StackError

_HELP = ("--help", "-h")
FLAGS = ("--json", "--quiet", "-q", "--verbose", "-v", "-vv", "--version", "-V", *_HELP)
"""What every command has."""

_WIDTH, _MOST_LEFT = 110, 32


@dataclass(frozen=True)
class Voice:
    """How verbose a command is, and whether its output is for a program."""

    as_json: bool = False
    quiet: bool = False
    verbosity: int = 0

    def progress(self, module: str) -> Callable[[str], None]:
        """Says a line of progress, or nothing where that was asked for."""
        return _unsaid if self.quiet else partial(say, module)


ALOUD = Voice()


@dataclass(frozen=True)
class Done:
    """How a command ended, and its result for --json. `error` is the message of a `ClaasError`.

    `becomes` turns this process into another program, once all of this has been printed.
    """

    code: int = ExitCode.COMPLETE
    result: Any = None
    error: str | None = None
    becomes: Callable[[], NoReturn] | None = None


class Shown(Exception):
    """What was asked for instead of a run, such as help: a text for a person, and the same for a program."""

    def __init__(self, text: str, result: Any = None) -> None:
        super().__init__(text)
        self.text = text
        self.result = {"text": text} if result is None else result


class Failure(BaseModel):
    """Why a command did not do what it was asked. `mend` is what to do about it, None where `cause` says it all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cause: str
    mend: str | None


class JsonDocument(BaseModel):
    """What a command prints with --json. `result` is None where there is none, `error` where nothing went wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    version: str
    exit_code: int
    result: Any
    error: Failure | None


class Parser(argparse.ArgumentParser):
    """argparse with one look of help for all commands, and the flags that they all have.

    `usage_text` stands in place of the line and the description that are made of the arguments. What is wrong with the
    arguments is raised as `InvalidInput`.
    """

    def __init__(self, prog: str, description: str = "", *, usage_text: str = "") -> None:
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)
        self._usage_text = usage_text
        _add_flags(self)
        self.add_argument("--version", "-V", action="store_true", dest="asks_version", help="which version this is")
        self.add_argument(*_HELP, action=_Help, help="this")
        self._common = tuple(self._actions)

    def parsed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments, in any order; `Shown` where help or the version is asked for."""
        if {"--version", "-V"} & {*arguments}:
            raise Shown(f"claas {__version__}", {"version": __version__})
        if any(map(_commands_within, self._actions)):
            return self.parse_args(arguments)  # argparse takes commands within a command in order only
        if wants_help(arguments):
            raise Shown(self.format_help())
        return self.parse_intermixed_args(list(arguments))

    def error(self, message: str) -> NoReturn:
        """The mistake, without argparse's usage."""
        raise InvalidInput(message)

    def format_help(self) -> str:
        """The command in a line, what it does, and what each argument means."""
        listed = [each for action in self._actions for each in (_commands_within(action) or [action])]
        own = [action for action in listed if action not in self._common and action.help]
        width = min(max(len(_spelled(action)) for action in listed) + 2, _MOST_LEFT)
        lines = [self._usage_text.rstrip()] if self._usage_text else [self._line(own), "", *_wrapped(self.description)]
        if own:
            lines += ["", *(row for action in own for row in _row(action, width))]
        return "\n".join([*lines, "", *(row for action in self._common for row in _row(action, width))])

    def _line(self, own: Sequence[argparse.Action]) -> str:
        if any(map(_commands_within, self._actions)):
            return f"{self.prog} COMMAND ..."
        needed = [_spelled(action) for action in own if action.required or not action.option_strings]
        return " ".join([self.prog, *needed, "[options]"])


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether help is among what is asked for."""
    return bool({*_HELP} & {*arguments})


class _Help(argparse.Action):
    """The help of the parser that reads it, of a command within another its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(nargs=0, **arguments)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise Shown(parser.format_help())


def _commands_within(action: argparse.Action) -> list[argparse.Action]:
    """The commands that can follow, where the argument is one of several."""
    return list(getattr(action, "_choices_actions", []))


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """What every command has."""
    meaning = "one JSON document on standard output, and nothing else there"
    parser.add_argument("--json", action="store_true", help=meaning)
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress; what is wrong is said all the same")
    meaning = "what libraries log, too; -vv: everything that they log"
    parser.add_argument("--verbose", "-v", action="count", default=0, help=meaning)


def _spelled(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    if names and action.nargs == 0:
        return names
    value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    value = {"+": f"{value} ...", "*": f"[{value} ...]", "?": f"[{value}]"}.get(str(action.nargs), value)
    return f"{names} {value}".strip()


def _row(action: argparse.Action, width: int) -> list[str]:
    left, meaning = _spelled(action), str(action.help)
    if action.nargs != 0 and action.option_strings and action.default is not None:
        meaning += f" (default: {action.default})"
    lines = textwrap.wrap(meaning, _WIDTH - width)
    if len(left) + 2 > width:
        return [left, *(f"{'':{width}}{line}" for line in lines)]
    return [f"{left if place == 0 else '':{width}}{line}" for place, line in enumerate(lines)]


def _wrapped(text: str | None) -> list[str]:
    return textwrap.wrap(text or "", _WIDTH)


def voice_of(arguments: Sequence[str]) -> Voice:
    """What the flags that all commands have say, whatever else is among the arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_flags(parser)
    given, _ = parser.parse_known_args(list(arguments))
    return Voice(given.json, given.quiet, given.verbose)


def ended(
    module: str,
    run: Callable[[Sequence[str]], Done],
    arguments: Sequence[str] | None = None,
    *,
    continues: bool = False,
) -> int:
    """The exit code of `run` with these arguments, by default those of the process; its errors are said in one line.

    Terminated (`run_until_terminated`), it can be resumed; with `continues` also where its stack failed, or it was
    interrupted. What is no `ClaasError` is a bug, and raised.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    voice = voice_of(arguments)
    if voice.verbosity:
        level = logging.INFO if voice.verbosity == 1 else logging.DEBUG
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    goes_on = "; the same command again continues" if continues else ""
    attempt = partial(_attempt, module, partial(run, arguments), goes_on)
    try:
        done = _documented(module, attempt) if voice.as_json else attempt()
        sys.stdout.flush()
        if done.becomes is not None:
            if voice.as_json:
                os.dup2(2, 1)  # standard output has had its document
            done = _attempt(module, done.becomes, goes_on)
    except BrokenPipeError:  # whoever reads has read enough, as in `claas --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    return int(done.code)


def _attempt(module: str, run: Callable[[], Done], goes_on: str) -> Done:
    try:
        return run()
    except Shown as shown:
        print(shown.text)
        return Done(result=shown.result)
    except ClaasError as error:
        message = f"{error}{goes_on if isinstance(error, StackError) else ''}"
        code = ExitCode.RESUMABLE if isinstance(error, StackError) else ExitCode.MISTAKE
    except asyncio.CancelledError:
        message, code = "terminated; the same command again continues", ExitCode.RESUMABLE
    except KeyboardInterrupt:
        if not goes_on:
            return Done(ExitCode.INTERRUPTED, error="interrupted")
        message, code = f"interrupted{goes_on}", ExitCode.INTERRUPTED
    say(module, message)
    return Done(code, error=message)


def _documented(module: str, attempt: Callable[[], Done]) -> Done:
    """Print how it ended as the one thing on standard output; of a bug, too, whose traceback follows."""
    done = Done(ExitCode.BUG, error="a bug, whose traceback is on standard error; report it, with the command")
    try:
        with _standard_output_as_error():
            done = attempt()
    finally:
        document = JsonDocument(
            command=module, version=__version__, exit_code=done.code, result=done.result, error=failure(done.error)
        )
        print(document.model_dump_json(indent=1))
    return done


def failure(message: str | None) -> Failure | None:
    """An error's message taken apart where it says first what is wrong and then what to do."""
    if message is None:
        return None
    cause, _, mend = " ".join(message.split()).partition("; ")
    return Failure(cause=cause, mend=mend or None)


@contextmanager
def _standard_output_as_error() -> Generator[None]:
    """Let whatever is written to standard output, by this process or one that it starts, go to standard error."""
    kept, descriptor = sys.stdout, os.dup(1)
    kept.flush()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = kept
        os.dup2(descriptor, 1)
        os.close(descriptor)


def say(module: str, message: str) -> None:
    """Print one line for the user on stderr."""
    print(f"{module}: {' '.join(message.split())}", file=sys.stderr)


def _unsaid(line: str) -> None:
    """Progress that nobody wants to see."""
