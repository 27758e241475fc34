"""`python -m claas.results COMMAND ...`: runs listed, exported, labelled, and their room on the disk given back."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from claas.core.errors import ExitCode, InvalidInput, NotFound
from claas.core.files import writing
from claas.core.output import FLAGS, Done, Parser, ended, say
from claas.core.settings import config_root
from claas.results.labels import change_labels, change_labels_of
from claas.results.numbers import disk_size
from claas.results.upkeep import delete, free, parts_of, require_deletable, require_run

RUNS = Path("data/evals")
"""Where runs are, unless a folder is named."""

Does: TypeAlias = Callable[[argparse.Namespace], Done | ExitCode | None]

_MODULE = "claas.results"
_BUNDLE, _PAGES = "bundle", "claas.dashboard.bundle"
"""The command that writes pages, which are made of what stands here: it is named, and no import."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, that of a mistake also where a deletion was not confirmed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if next((each for each in given if each not in FLAGS), None) == _BUNDLE:
        given.remove(_BUNDLE)
        return int(import_module(_PAGES).main(given))
    return ended(_MODULE, _run, given)


def _run(given: Sequence[str]) -> Done:
    changes = _tags_in(given)
    asked = _parser().parsed([each for each in given if each not in changes])
    asked.changes = changes
    does: Does = asked.does
    done = does(asked)
    return done if isinstance(done, Done) else Done(done or ExitCode.COMPLETE)


def _tags_in(given: Sequence[str]) -> list[str]:
    """What `tag` is to add and to take away, `+best -old`: argparse would take the latter for an option."""
    if given[:1] != ["tag"]:
        return []
    return [each for each in given[1:] if each[:1] in ("+", "-") and each not in FLAGS and not each.startswith("--")]


def _list(asked: argparse.Namespace) -> Done:
    from claas.results.listing import ListQuery, print_list  # reads records, which takes more than the rest needs

    query = ListQuery(asked.search, asked.state, asked.verdict, tuple(asked.tag), asked.archived)
    return Done(result=print_list(asked.folder, query))


def _export(asked: argparse.Namespace) -> Done:
    from claas.results.export import export  # reads records, too

    roots = [_root(each) for each in asked.run]
    return _files(export(roots, asked.to, asked.output, with_samples=asked.samples))


def _plots(asked: argparse.Namespace) -> Done:
    roots = _roots(asked.run)
    if asked.output is not None and len(roots) > 1:
        raise InvalidInput("--output takes the plots of one run; name one, or leave it out")
    from claas.results.figure import redraw  # draws with matplotlib, which takes long to import

    return _files(path for root in roots for path in redraw(root, asked.formats, asked.style, asked.output))


def _schema(asked: argparse.Namespace) -> Done:
    return _files([config_root() / "schema" / f"{asked.of}.json"])


def _files(paths: Iterable[Path]) -> Done:
    files: list[str] = []
    for path in paths:
        files.append(str(path))
        print(path)
    return Done(result={"files": files})


def _junit(asked: argparse.Namespace) -> None:
    from claas.results.junit import FILE_NAME, markdown_of, read_judged, write_junit  # reads summaries

    roots = _roots(asked.run)
    runs = [read_judged(root) for root in roots]
    if asked.output is not None:
        written = {asked.output: runs}
    else:
        written = {root / FILE_NAME: [run] for root, run in zip(roots, runs, strict=True)}
    for path, shown in written.items():
        write_junit(path, shown, asked.inconclusive)
        print(path)
    if asked.markdown is not None:
        with writing(asked.markdown), asked.markdown.open("a", encoding="utf-8") as file:
            file.write(markdown_of(runs) + "\n")


def _tag(asked: argparse.Namespace) -> None:
    add = [each[1:] for each in asked.changes if each[0] == "+"]
    remove = [each[1:] for each in asked.changes if each[0] == "-"]
    roots = {str(root): root for root in _roots(asked.run)}
    for root, labels in change_labels_of(roots, add, remove).items():
        print(f"{root}: {' '.join(labels.tags) or 'no tags'}")


def _note(asked: argparse.Namespace) -> None:
    print(change_labels(_root(asked.run), note=asked.text).note or "no note")


def _archive(asked: argparse.Namespace) -> None:
    roots = {str(root): root for root in _roots(asked.run)}
    for root in change_labels_of(roots, archived=asked.archived):
        print(f"{root}: {'left out of lists' if asked.archived else 'in lists again'}; nothing was moved")


def _free(asked: argparse.Namespace) -> ExitCode | None:
    roots = _roots(asked.run)
    for root in roots:
        require_run(root)
        size = sum(part.size for part in parts_of(root) if part.name == "stack")
        print(f"{root}: {disk_size(size)} in stack; records, pictures and report stay")
    lost = "they could not go on, and no benchmark could be run on their adapters"
    if not _confirmed(asked.yes, f"delete the adapters of {_counted(roots)} for good? {lost}"):
        return ExitCode.MISTAKE
    for root in roots:
        print(f"{root}: the disk has {disk_size(free(root))} back")
    return None


def _delete(asked: argparse.Namespace) -> ExitCode | None:
    roots = _roots(asked.run)
    whole = 0
    for root in roots:
        others = require_deletable(root, with_others=asked.with_others)
        parts = parts_of(root)
        whole += sum(part.size for part in parts)
        print(f"{root}: {', '.join(f'{part.name} {disk_size(part.size)}' for part in parts)}")
        if others:
            print(f"{root}: no part of the run, and deleted with it: {', '.join(others)}")
    if not _confirmed(asked.yes, f"delete {_counted(roots)}, {disk_size(whole)}, for good?"):
        return ExitCode.MISTAKE
    for root in roots:
        print(f"{root}: deleted; the disk has {disk_size(delete(root, with_others=asked.with_others))} back")
    return None


def _roots(given: Sequence[str]) -> list[Path]:
    """Each run's folder, once."""
    return list(dict.fromkeys(map(_root, given)))


def _root(given: str) -> Path:
    """A run's folder, or that of the run of this name where runs are."""
    for path in (Path(given).expanduser(), RUNS / given):
        if path.is_dir():
            return path
    raise NotFound(f"there is no folder {given}, nor {RUNS / given}; name a run's folder")


def _counted(roots: Sequence[Path]) -> str:
    return "1 run" if len(roots) == 1 else f"{len(roots)} runs"


def _confirmed(yes: bool, question: str) -> bool:
    """Whether it is wanted; where nobody can be asked, only `--yes` says so."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInput("nobody is there to confirm this; add --yes")
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say(_MODULE, "nothing was deleted")
    return False


def _parser() -> Parser:
    parser = Parser("claas results", "Runs listed, exported, labelled, shared and kept tidy.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: Does, purpose: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        made.set_defaults(does=does)
        return made

    def runs(made: argparse.ArgumentParser, nargs: str | None = "+") -> None:
        made.add_argument("run", nargs=nargs, metavar="RUN", help=f"a run's folder, or its name below {RUNS}")

    listed = command("list", _list, "the runs below a folder, newest first, with what they differ in")
    listed.add_argument("folder", nargs="?", type=Path, default=RUNS, metavar="FOLDER", help=f"by default {RUNS}")
    listed.add_argument(
        "--search", "-s", default="", metavar="WORDS", help="in names, tags, notes and values, as in: concise seed=7"
    )
    listed.add_argument("--state", default="", help="complete, running, stopped, failed or unreadable")
    listed.add_argument("--verdict", default="", help="pass, fail or inconclusive")
    listed.add_argument("--tag", action="append", default=[], help="only runs that have it; may be given again")
    listed.add_argument("--archived", action="store_true", help="those that are archived, and no others")

    exported = command("export", _export, "runs as tables, which docs/reference.md describes column by column")
    exported.add_argument("run", nargs="+", metavar="RUNS", help="runs, or folders that they are in")
    exported.add_argument("--to", choices=("parquet", "csv"), default="parquet", help="by default parquet")
    exported.add_argument(
        "--output", type=Path, default=Path("frames"), metavar="DIR", help="where to write, by default frames"
    )
    exported.add_argument("--samples", action="store_true", help="every transcript, too")

    plots = command("plots", _plots, "the plots of runs drawn anew from their records, as for a paper")
    runs(plots)
    plots.add_argument(
        "--formats",
        type=lambda given: given.split(","),
        metavar="png,pdf,svg",
        help="any of these; by default as the run has it",
    )
    plots.add_argument("--style", help="screen, paper or the path of a .mplstyle file; by default as the run has it")
    plots.add_argument(
        "--output", "-o", type=Path, metavar="DIR", help="draw into DIR/plots; by default into the run's folder"
    )

    commands.add_parser(_BUNDLE, help="several runs as a folder of pages to share")
    schema = command("schema", _schema, "where the JSON schema of a file is, for editors and other programs")
    schema.add_argument("of", choices=("preference", "config", "summary", "metadata", "baseline", "step"))

    junit = command("junit", _junit, "verdicts as JUnit XML, a test case for each criterion, for a CI server")
    runs(junit)
    junit.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="one file for all runs; by default RUN/junit.xml of each"
    )
    junit.add_argument(
        "--inconclusive", choices=("skipped", "failure"), default="skipped", help="what an undecided criterion is"
    )
    junit.add_argument(
        "--markdown", type=Path, metavar="FILE", help="append the verdicts as tables, as to $GITHUB_STEP_SUMMARY"
    )

    tag = command("tag", _tag, "tags added and taken away, as in: tag RUN +best -old; without any, those there are")
    runs(tag)

    note = command("note", _note, "a note on a run set, or shown where no text is given; '' takes it away")
    runs(note, None)
    note.add_argument("text", nargs="?", metavar="TEXT")

    for name, archived, purpose in (
        ("archive", True, "runs left out of lists; nothing is moved or changed"),
        ("unarchive", False, "archived runs in lists again"),
    ):
        made = command(name, _archive, purpose)
        runs(made)
        made.set_defaults(archived=archived)

    freed = command("free", _free, "the adapters of finished runs deleted: most of their room; records stay")
    deleted = command("delete", _delete, "runs deleted for good, after a look at what goes")
    for made in (freed, deleted):
        runs(made)
        made.add_argument("--yes", "-y", action="store_true", help="do not ask")
    deleted.add_argument("--with-others", action="store_true", help="also what is in the folder and no part of a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
