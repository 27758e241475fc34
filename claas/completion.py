"""`claas completion bash|zsh|fish`: a script that lets the shell complete every command, by Tab.

The script asks `claas completion query LINE` for what can stand at the end of a line; nothing slow is imported for it.
"""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from claas.core import yaml_files
from claas.core.configuration import settings_of
from claas.core.errors import ClaasError
from claas.core.output import Done, Parser, ended
from claas.core.settings import config_root

SHELLS = ("bash", "zsh", "fish")
_SCRIPTS = Path(__file__).with_name("completions")
_LISTS = re.compile(r"[\[,]")


@dataclass(frozen=True)
class Candidate:
    """A word that can stand where the cursor is. `goes_on`: more is typed right after it, without a space."""

    word: str
    meaning: str = ""
    goes_on: bool = False


@dataclass(frozen=True)
class Line:
    """What has been typed: its words, the last being the one to complete, and whether a quote is open in that."""

    words: tuple[str, ...]
    quoted: bool

    @classmethod
    def of(cls, typed: str) -> "Line":
        """The words as a shell would read them, had the line been ended here."""
        for closing in ("", "'", '"', "\\"):
            with contextlib.suppress(ValueError):
                words = shlex.split(typed + closing)
                is_new = not closing and (not typed or typed[-1].isspace())
                return cls((*words, *([""] if is_new else [])), closing in ("'", '"'))
        return cls(("",), False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return ended("claas.completion", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    if arguments[:1] == ["query"]:
        return Done(result={"candidates": _answer(arguments[1:])})
    parser = Parser("claas completion", "Print a script that lets your shell complete every command by Tab.")
    meaning = 'the shell, as in: eval "$(claas completion bash)"'
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help=meaning)
    script = (_SCRIPTS / f"claas.{parser.parsed(arguments).shell}").read_text(encoding="utf-8")
    print(script, end="")
    return Done(result={"script": script})


def _answer(asked: Sequence[str]) -> list[str]:
    """Print the candidates, a line each; `--bash` wants only what follows the last of its own word breaks."""
    bash = asked[:1] == ["--bash"]
    line = Line.of(asked[-1])
    found = candidates(line)
    for each in found:
        if bash:
            kept = "" if line.quoted else _broken(line.words[-1])
            print(each.word.removeprefix(kept) + ("" if each.goes_on or line.quoted else " "))
        else:
            print(f"{each.word}\t{each.meaning}" if each.meaning else each.word)
    return [each.word for each in found]


def _broken(word: str) -> str:
    """What bash takes for words of their own: everything up to the last `=` or `:`."""
    return word[: max(word.rfind("="), word.rfind(":")) + 1]


def candidates(line: Line) -> list[Candidate]:
    """What can stand at the end of the line, which may be of any program; nothing where files can."""
    from claas.__main__ import COMMANDS

    words = list(line.words)
    while words and re.fullmatch(r"\w+=.*", words[0]) and len(words) > 1:
        del words[0]  # of the environment
    program, *rest = words or [""]
    name = Path(program).name
    if name.startswith("python"):
        modules = {door.module.removesuffix(".__main__"): name for name, door in COMMANDS.items() if not door.leading}
        modules["claas"] = ""
        if len(rest) == 2:
            return _starting(rest[1], map(Candidate, modules)) if rest[0] == "-m" else []
        if rest[:1] != ["-m"] or rest[1] not in modules:
            return []
        rest = [*modules[rest[1]].split(), *rest[2:]]
    elif name != "claas":
        rest = [name.removeprefix("claas-"), *rest]
    if len(rest) < 2:
        return _starting(rest[-1] if rest else "", _first_words(COMMANDS))
    command = next((" ".join(rest[:n]) for n in (2, 1) if len(rest) > n and " ".join(rest[:n]) in COMMANDS), None)
    if command is None:
        return []
    more = [name.split()[1] for name in COMMANDS if name.startswith(f"{command} ")] if len(rest) == 2 else []
    beside = [Candidate(word, COMMANDS[f"{command} {word}"].purpose) for word in more]
    given = rest[len(command.split()) :]
    with contextlib.suppress(ClaasError):  # a folder that is not there, a file that is no YAML: it is said on Enter
        return _starting(given[-1], [*beside, *_of_command(command, COMMANDS[command].module, given)])
    return []


def _first_words(commands: Mapping[str, Any]) -> Iterator[Candidate]:
    for name, door in commands.items():
        if " " not in name:
            yield Candidate(name, door.purpose)
    for flag in ("--help", "--version"):
        yield Candidate(flag)


def _starting(prefix: str, found: Iterator[Candidate] | Sequence[Candidate]) -> list[Candidate]:
    return [each for each in found if each.word.startswith(prefix)]


def _of_command(name: str, module: str, given: Sequence[str]) -> Iterator[Candidate]:
    command: Any = getattr(import_module(_LIGHT.get(name, module)), "COMMAND", None)
    if command is None:
        yield from _from_help(import_module(module).main, given)
        if name == "audit":
            yield from (Candidate(each) for each in yaml_files.known("preference", _config_dir(given)))
        return
    settings = _Settings(command, given, _EVAL if name in _LIGHT else {})
    yield from settings.candidates()


_LIGHT = {"eval": "claas.eval.config.compose", "plan": "claas.eval.config.compose"}
"""Where the settings of a command are without what runs it."""


def _from_help(main: Callable[[Sequence[str]], int], given: Sequence[str]) -> Iterator[Candidate]:
    """The flags that a command's help lists, once one is begun; and as the first word the commands within it."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main([*given[:-1], "--help"])
    if given[-1].startswith("-"):
        yield from _listed(said.getvalue())
    elif len(given) == 1 and " COMMAND " in said.getvalue().partition("\n")[0]:
        yield from (Candidate(*found) for found in re.findall(r"(?m)^([a-z]+)  +(.*)$", said.getvalue()))


def _listed(text: str) -> Iterator[Candidate]:
    """The flags that stand at the beginning of a line of help, each with its meaning where that is in the same line."""
    for flag, meaning in re.findall(r"(?m)^(?:-\w, )?(--[\w-]+)[^\n]*?(?:  +([^\n]*))?$", text):
        yield Candidate(flag, meaning)


def _config_dir(given: Sequence[str]) -> str | None:
    folders = [after for flag, after in pairwise(given) if flag in ("--config-dir", "-cd")]
    return folders[-1] if folders and Path(folders[-1]).expanduser().is_dir() else None


@dataclass
class _Settings:
    """A command with settings, and what has been typed after its name. `named` gives the names that a setting takes."""

    command: Any
    given: Sequence[str]
    named: Mapping[str, Callable[[str | None], list[str]]] = field(default_factory=dict[str, Any])

    def candidates(self) -> Iterator[Candidate]:
        """Flags, keys, and the values of the key that is typed."""
        from claas.core.groups import KINDS, options

        folder = _config_dir(self.given)
        folders = [self.command.folder, *([] if folder is None else [Path(folder).expanduser()])]
        before = self.given[-2] if len(self.given) > 1 else ""
        word = self.given[-1]
        if before in ("--config-dir", "-cd"):
            return
        if before in ("--config-name", "-cn"):
            yield from (Candidate(path.stem) for place in folders for path in sorted(place.glob("*.yaml")))
        elif before in ("--cfg", "-c"):
            yield Candidate("job")
        elif word.startswith("-"):
            yield from _listed(self.command.flags())
        elif "=" in word:
            key, _, value = word.partition("=")
            yield from self._values(key, value, options(self.command.settings, folders), folder)
        else:
            if before in ("--info", "-i"):
                yield from map(Candidate, KINDS)
            yield from self._keys(options(self.command.settings, folders))

    def _keys(self, groups: Mapping[str, Sequence[str]]) -> Iterator[Candidate]:
        sign = re.match(r"[+~]*", self.given[-1])
        lead = sign[0] if sign else ""
        described = {each.key: each.meaning for each in settings_of(self.command.settings)}
        keys = {**dict.fromkeys(groups, ""), **described}
        if self.command.can_sweep:
            keys |= dict.fromkeys(_hydra(), "")
        for key, meaning in keys.items():
            yield Candidate(f"{lead}{key}{'' if lead == '~' else '='}", meaning, goes_on=lead != "~")

    def _values(
        self, key: str, value: str, groups: Mapping[str, Sequence[str]], folder: str | None
    ) -> Iterator[Candidate]:
        name = key.lstrip("+~")
        setting = next((each for each in settings_of(self.command.settings) if each.key == name), None)
        if name in self.named:
            known = self.named[name](folder)
        elif name in groups:
            known = list(groups[name])
        elif name in _hydra():
            known = sorted(_hydra()[name])
        elif setting is not None and setting.limits.choices:
            known = list(setting.limits.choices)
        elif setting is not None and isinstance(setting.default, bool):
            known = ["true", "false"]
        else:
            return
        is_list = setting is not None and isinstance(setting.default, list)
        start = max((found.end() for found in _LISTS.finditer(value)), default=0)
        taken = set(_LISTS.split(value)[:-1])
        opening = "[" if is_list and not value else ""
        for each in known:
            if each not in taken:
                yield Candidate(f"{key}={opening}{value[:start]}{each}", goes_on=is_list)


def _metrics(folder: str | None) -> list[str]:
    """The metrics and presets by name, as metrics.yaml says, whatever else is in it."""
    files = [config_root() / "metrics.yaml", *([] if folder is None else [Path(folder).expanduser() / "metrics.yaml"])]
    read: list[Any] = [yaml_files.read(path) for path in files if path.is_file()]
    named: list[dict[str, Any]] = [each.get(part) or {} for each in read for part in ("presets", "metrics")]
    return list(dict.fromkeys(name for names in named for name in names))


def _arms(folder: str | None) -> list[str]:
    from claas.eval.protocols.arms import ARMS

    return list(ARMS)


def _controls(folder: str | None) -> list[str]:
    from claas.results.settings import FEEDBACK, ISOLATED, UNTRAINED

    return [*UNTRAINED, ISOLATED, *(name for name in _arms(folder) if name != FEEDBACK)]


def _hydra() -> Mapping[str, Mapping[str, str | None]]:
    from claas.core.launching import PACKAGES  # only for a command with settings, which loads Hydra

    return PACKAGES


_EVAL: Mapping[str, Callable[[str | None], list[str]]] = {
    "preferences": lambda folder: yaml_files.known("preference", folder),
    "metrics": _metrics,
    "arm": _arms,
    "controls": _controls,
}


if __name__ == "__main__":
    sys.exit(main())
