"""From command-line arguments and YAML files to checked settings, the same way for every command that has settings.

Hydra composes the files and reads the overrides, and does nothing else: it makes no folder and logs nothing.
"""

import argparse
import itertools
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from claas.core.configuration import checked, require_known, settings_as_yaml, unknown_key
from claas.core.errors import InvalidInput
from claas.core.groups import KINDS, as_text, bare_value, information, options, stands_in_defaults
from claas.core.launching import PACKAGES, PluggedIn, plugged_in
from claas.core.output import ALOUD, Done, Parser, Shown, Voice, ended, voice_of, wants_help

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """Settings that were asked for, the user's folder of YAML files, and the arguments that ask for just these.

    `name` is what tells a job from the others of its sweep, as in seed=1, and empty where there are none. `overrides`
    are the arguments as Hydra takes them. `voice` says how much is said of it.
    """

    config: T
    config_dir: Path | None
    arguments: tuple[str, ...]
    name: str = ""
    overrides: tuple[str, ...] = ()
    voice: Voice = ALOUD


@dataclass(frozen=True)
class Command(Generic[T]):
    """A command with settings: their dataclass, the folder of its YAML files, and the file that is read by default.

    `usage` leads what `--help` prints; `names` gives the lines that say what can be chosen by name, where the user
    has a folder of YAML files those in it, too. With `can_sweep`, `-m` asks for one job per value of a list a,b,c.
    """

    module: str
    settings: type[T]
    folder: Path
    default_file: str
    usage: str
    names: Callable[[Path | None], list[str]] = lambda config_dir: []
    can_sweep: bool = False

    def jobs(self, arguments: Sequence[str]) -> list[Job[T]]:
        """What `arguments` ask for, all of it checked.

        `InvalidInput` with one line on the first mistake, and `Shown` where something is to be shown instead.
        """
        given = self._parser().parsed(_without_help(arguments))
        config_dir = None if given.config_dir is None else _existing(given.config_dir)
        if wants_help(arguments):
            names = self.names(config_dir)
            groups = self._groups(config_dir)
            lines = [self.flags(), "", *groups, *names, *([""] if groups or names else [])]
            lines += settings_as_yaml(self.settings)
            raise Shown("\n".join(lines))
        if given.info:
            told = self._information(given, config_dir)
            raise Shown(as_text(told), told)
        jobs = self._composed(given, config_dir, voice_of(arguments))
        if given.cfg:
            settings = [asdict(cast(Any, job.config)) for job in jobs]
            text = "".join(yaml.safe_dump(each, sort_keys=False) for each in settings)
            raise Shown(text.rstrip(), {"settings": settings})
        return jobs

    def plugged_in(self, arguments: Sequence[str]) -> PluggedIn | None:
        """What runs the sweep that `arguments` ask for in place of this process: a launcher or a sweeper that is one
        of Hydra's plugins. None where there is none of them."""
        given = self._parser().parsed(_without_help(arguments))
        if not given.multirun or wants_help(arguments) or given.cfg or given.info:
            return None
        config_dir = None if given.config_dir is None else _existing(given.config_dir)
        folders = self._folders(given, config_dir)
        with self._initialized(folders):
            return plugged_in(given.config_name, self._asked(given.overrides, folders, given.config_name), config_dir)

    def read(self, composed: DictConfig) -> T:
        """The settings of a configuration that Hydra has composed, checked."""
        return checked(
            self.settings, cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
        )

    def ended(
        self, run: Callable[[Job[T]], Done], arguments: Sequence[str] | None = None, *, continues: bool = False
    ) -> int:
        """The exit code of `run` with the settings asked for, by default on the command line."""

        def run_one(arguments: Sequence[str]) -> Done:
            (job,) = self.jobs(arguments)
            return run(job)

        return ended(self.module, run_one, arguments, continues=continues)

    def flags(self) -> str:
        """What `--help` says but for the settings and their names."""
        return self._parser().format_help()

    def _groups(self, config_dir: Path | None) -> list[str]:
        """What can be chosen by the name of a file, a line for each setting."""
        folders = [self.folder, *([] if config_dir is None else [config_dir])]
        return [f"{name}: {', '.join(files)}" for name, files in options(self.settings, folders).items()]

    def _parser(self) -> Parser:
        parser = Parser(self.module, usage_text=self.usage)
        add = parser.add_argument
        add("--config-dir", "-cd", metavar="FOLDER", help="a folder of yours, whose files add to the shipped ones")
        add(
            "--config-name",
            "-cn",
            default=self.default_file,
            metavar="NAME",
            help=f"the settings in NAME.yaml, in place of {self.default_file}.yaml",
        )
        add("--cfg", "-c", choices=["job"], help="print the settings that would be used, and run nothing")
        add(
            "--info",
            "-i",
            choices=KINDS,
            nargs="?",
            const="all",
            help="print what settings are composed of, and run nothing",
        )
        add("overrides", nargs="*")
        parser.set_defaults(multirun=False)
        if self.can_sweep:
            add("--multirun", "-m", action="store_true", help="one run for each value of a list, as in seed=1,2,3")
        return parser

    def _composed(self, given: argparse.Namespace, config_dir: Path | None, voice: Voice) -> list[Job[T]]:
        chosen = [] if config_dir is None else ["--config-dir", str(config_dir)]
        if given.config_name != self.default_file:
            chosen += ["--config-name", given.config_name]
        folders = self._folders(given, config_dir)
        jobs: list[Job[T]] = []
        with self._initialized(folders):
            for name, overrides in _swept(given.overrides) if given.multirun else [("", given.overrides)]:
                asked = self._asked(overrides, folders, given.config_name)
                composed = hydra.compose(given.config_name, overrides=asked)
                jobs.append(Job(self.read(composed), config_dir, (*chosen, *overrides), name, tuple(asked), voice))
        return jobs

    def _folders(self, given: argparse.Namespace, config_dir: Path | None) -> list[Path]:
        """Where Hydra looks for files, in this order."""
        folders = [self.folder, *([] if config_dir is None else [config_dir])]
        if not (self.folder / f"{given.config_name}.yaml").is_file():
            folders.reverse()  # Hydra looks for the file itself in the first folder only
        return folders

    @contextmanager
    def _initialized(self, folders: Sequence[Path]) -> Generator[None]:
        with (
            _one_line_for_what_hydra_says(self),
            hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders[0]), job_name=self.module),
        ):
            yield

    def _asked(self, overrides: Sequence[str], folders: Sequence[Path], config_name: str) -> list[str]:
        """Overrides as Hydra takes them."""
        places = [f"hydra.searchpath=[{override_value(f'file://{folder}')}]" for folder in folders[1:]]
        asked = [
            each
            for override in overrides
            for each in self._chosen(override, config_name, places) or _settable(override, self.settings, folders)
        ]
        return [*asked, *places]

    def _chosen(self, override: str, config_name: str, places: Sequence[str]) -> list[str]:
        """An override that chooses a file for a bare value, such as mode=lab: what it sets is above what files set."""
        group, is_assignment, option = override.partition("=")
        name = group.removeprefix("~")
        setting = bare_value(self.settings, name) if (self.folder / name).is_dir() else None
        if setting is None:
            return []
        option = option if is_assignment else setting.default
        return [f"{'' if stands_in_defaults(name, config_name, places) else '+'}{name}={option}"]

    def _information(self, given: argparse.Namespace, config_dir: Path | None) -> dict[str, Any]:
        folders = self._folders(given, config_dir)
        with self._initialized(folders):
            asked = self._asked(given.overrides, folders, given.config_name)
            told = information(self.settings, given.config_name, asked, folders)
        return told if given.info == "all" else {given.info: told[given.info]}


def override_value(value: str) -> str:
    """A value as an override spells it: in quotes where it holds more than plain characters."""
    if re.fullmatch(r"[A-Za-z0-9_./~+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _without_help(arguments: Sequence[str]) -> list[str]:
    """Help of settings has in it what the other arguments name, and is shown once these are read."""
    return [each for each in arguments if not wants_help([each])]


def _existing(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise InvalidInput(f"--config-dir: the folder {folder!r} not found")
    return path


def _swept(overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The name and overrides of each job of a sweep: every combination of the values that are listed with commas."""
    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif (
            override.is_discrete_sweep() and not isinstance(override.value(), Glob) and not override.is_hydra_override()
        ):
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise InvalidInput(f"cannot sweep over {override.input_line}: list values of a setting, as in seed=1,2,3")
    jobs = [list(each) for each in itertools.product(*choices.values())]
    several = [place for place, values in enumerate(choices.values()) if len(values) > 1]
    return [(",".join(job[place] for place in several), job) for job in jobs]


def _settable(override: str, settings: type, folders: Sequence[Path]) -> list[str]:
    """An override as Hydra takes it whether or not a file names that setting; one that chooses a file stays."""
    key, is_assignment, value = override.partition("=")
    name = key.removeprefix("~")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or name.startswith("hydra.") or not (is_assignment or key != name):
        return [override]
    if any((folder / name).is_dir() for folder in folders) and not value.lstrip().startswith("{"):
        return [override]  # `criteria=strict`
    require_known(settings, name)
    if key == name:
        return [f"++{name}={value}"]
    return [override] if is_assignment else [f"++{name}=true", override]  # Hydra takes away only what is there


@contextmanager
def _one_line_for_what_hydra_says(command: Command[Any]) -> Generator[None, None, None]:
    try:
        yield
    except InvalidInput:
        raise
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise _mistake(error, command) from error


def _mistake(error: Exception, command: Command[Any]) -> InvalidInput:
    """What Hydra says in many ways, on one line, with the key that was meant."""
    message = " ".join(str(error).split()).replace("override ++", "override ").replace("'++", "'")
    unknown = re.match(r"Could not override '([^']+)'", message)
    if unknown:
        return unknown_key(command.settings, unknown[1])
    if message.startswith("Error parsing override") or "hydra.cc" in message:
        shown = re.search(r"'([^']+)'", message)
        where = f" at {shown[1]!r}" if shown else ""
        return InvalidInput(
            f"cannot read the arguments{where}: each is key=value, a list is key=[a,b], and text with other characters "
            "than letters, digits and ./:_- stands in quotes of its own: 'key=\"some text\"'"
        )
    if plugin := re.search(r"Could not find '(hydra/(?:launcher|sweeper))/([^']*)'", message):
        known = PACKAGES[plugin[1]]
        package = known.get(plugin[2])
        mend = f"pip install {package}" if package else f"known: {', '.join(known)}"
        return InvalidInput(f"there is no {plugin[1]} {plugin[2]!r}; {mend}")
    if group := re.search(
        r"Could not find '(\w+)/([^']*)' Available options in '\w+': (.*?) Config search path", message
    ):
        return InvalidInput(f"unknown {group[1]} {group[2]!r}; known: {', '.join(group[3].split())}")
    if missing := re.match(r"Cannot find primary config '([^']+)'", message):
        return InvalidInput(
            f"there is no config {missing[1]!r}: --config-name takes the name of a YAML file in the folder given as "
            "--config-dir"
        )
    if several := re.search(r"Could not load '(\w+)/([^']+)'", message):  # of a group of which many may be chosen
        folders = [Path(each) / several[1] for each in re.findall(r"path=file://(\S+)", message)]
        names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        return InvalidInput(f"unknown {several[1]} {several[2]!r}; known: {', '.join(names)}")
    if schema := re.search(r"Could not load '([^']+)'", message):
        return InvalidInput(
            f"there is no file {schema[1]!r} for the defaults list: of its own settings a file needs only "
            f"`defaults: [{command.default_file}, _self_]`"
        )
    if message.startswith("Ambiguous value for argument"):
        sweep = "; to run each value, add -m" if command.can_sweep else ""
        return InvalidInput(f"{message.partition(' 1. ')[0]}: write a list as key=[a,b]{sweep}")
    if message.startswith("Config group override must be"):
        return InvalidInput(
            f"{message}: a section such as user is chosen by the name of a YAML file, as in user=llm, or set key by key"
        )
    if several := re.match(r"Multiple values for (\w+)\. .*: (\S+)'", message):
        return InvalidInput(f"{several[1]} is chosen once, and without +: {several[1]}={several[2]}")
    if "HydraConfig was not set" in message:
        return InvalidInput("${hydra:...} has no value here: use a setting, as in 'output_dir=data/evals/${seed}'")
    cause = "" if error.__cause__ is None else f" ({' '.join(str(error.__cause__).split())})"
    return InvalidInput(f"{message}{cause}")
