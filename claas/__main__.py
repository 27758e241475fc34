"""`claas <command> ...`, also `python -m claas`: every command of the project behind one name."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from claas.core.errors import ExitCode, InvalidInput
from claas.core.output import Done, Parser, ended


@dataclass(frozen=True)
class Door:
    """A command: the module whose `main` it is, what it is for, and arguments that stand before those given."""

    module: str
    purpose: str
    leading: tuple[str, ...] = ()


COMMANDS = {
    "eval": Door("claas.eval.__main__", "run feedback loops and measure them"),
    "plan": Door(
        "claas.eval.__main__", "what a run would ask, cost and could show; nothing is started", ("plan=true",)
    ),
    "aggregate": Door("claas.eval.aggregate", "what runs of several seeds, or of two settings, show together"),
    "recompute": Door("claas.eval.recompute.__main__", "a run's numbers once more, from its transcripts"),
    "audit": Door("claas.eval.audit", "whether a preference's verifier tells its own examples apart"),
    "report": Door("claas.dashboard.__main__", "write the page of a run into its folder"),
    "results": Door("claas.results.__main__", "runs listed, exported, shared as pages, tagged, archived, deleted"),
    "api": Door("claas.api.__main__", "serve the API and the pages"),
    "openclaw": Door("claas.openclaw.__main__", "an OpenClaw gateway in front of the API"),
    "bench": Door("claas.bench.__main__", "standard benchmarks of a model and its adapters"),
    "bench compare": Door("claas.bench.compare", "KEEP, DISCARD or MIXED: one benchmark run against another"),
    "bench probe": Door("claas.bench.probe", "a few minutes' check that halts at a regression"),
    "bench loss": Door("claas.bench.loss.__main__", "loss on held-out text"),
    "bench scan": Door("claas.bench.scan.__main__", "the checkpoints of a training run, and which is the best"),
    "bench convert": Door("claas.bench.convert.__main__", "a checkpoint as a folder that every tool loads"),
    "bench judge": Door("claas.bench.judge.__main__", "answers judged by a model"),
    "bench cohort": Door("claas.bench.cohort", "the page of many benchmark runs in one file"),
    "bench export": Door("claas.bench.export", "benchmark runs in other tools' formats"),
    "bench import": Door("claas.bench.import_results", "benchmark runs of other tools"),
    "completion": Door("claas.completion", "what bash, zsh and fish need to complete all of these"),
    "doctor": Door("claas.doctor", "what works on this machine, and what each missing part would give"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command asked for; of none, and of an unknown one, that of a mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = next((count for count in (2, 1) if " ".join(given[:count]) in COMMANDS), 0)
    if not words:
        return ended("claas", _itself, ["--help"] if given[:1] == ["help"] else given)
    door = COMMANDS[" ".join(given[:words])]
    return int(import_module(door.module).main([*door.leading, *given[words:]]))


def _itself(given: Sequence[str]) -> Done:
    """`claas` without a command that there is."""
    usage_text = usage(COMMANDS)
    if not given:
        print(usage_text)
        return Done(ExitCode.MISTAKE, error="no command is given; claas --help lists them")
    parser = Parser("claas", usage_text=usage_text)
    parser.add_argument("command", nargs="*")
    name = next(iter(parser.parsed(given).command), "")
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
    raise InvalidInput(f"unknown command {name!r}; {hint}")


def usage(commands: Mapping[str, Door]) -> str:
    """The commands, a line each."""
    width = max(map(len, commands))
    lines = [f"  claas {name:<{width}}  {door.purpose}" for name, door in commands.items()]
    return "\n".join(["claas COMMAND ...", "", *lines, "", "Every command has:"])


if __name__ == "__main__":
    sys.exit(main())
