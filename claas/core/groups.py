"""Config groups: a setting that is chosen by the name of a file, in the shipped folder or in one of the user's.

`training=anchored` is configs/training/anchored.yaml, and `mode=lab` may be mode/lab.yaml in a folder of the user's.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.default_element import GroupDefault, InputDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from claas.core.configuration import Setting, settings_of

EXPERIMENT = "experiment"
"""The group that is no setting: each of its files sets several."""

KINDS = ("all", "searchpath", "groups", "defaults", "defaults-tree", "config", "plugins")
"""What `--info` tells."""


def options(settings: type, folders: Iterable[Path]) -> dict[str, list[str]]:
    """The groups in these folders that are settings, or sections of them, with the options of each by name."""
    names = [EXPERIMENT, *(each.key for each in settings_of(settings) if not each.section)]
    found = {name: {path.stem for folder in folders for path in (folder / name).glob("*.yaml")} for name in names}
    return {name: sorted(files) for name, files in found.items() if files}


def bare_value(settings: type, group: str) -> Setting | None:
    """The setting of this name, if it is a bare value: a file of the group sets it, and whatever goes with it."""
    found = next((each for each in settings_of(settings) if each.key == group), None)
    is_bare = found is not None and not is_dataclass(found.default) and not isinstance(found.default, dict | list)
    return found if is_bare else None


def stands_in_defaults(group: str, config_name: str, overrides: Sequence[str]) -> bool:
    """Whether a file has chosen an option of the group, once Hydra is initialised."""
    loader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list(config_name, list(overrides), RunMode.RUN)
    return any(each.override_key == group for each in found.defaults)


def information(settings: type, config_name: str, overrides: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """What `--info` tells, by kind, once Hydra is initialised."""
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration(config_name, list(overrides), RunMode.RUN)
    defaults = loader.compute_defaults_list(config_name, list(overrides), RunMode.RUN)
    without = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plugins = Plugins.instance()
    return {
        "searchpath": [_place(source) for source in composed.hydra.runtime.config_sources],
        "groups": options(settings, folders),
        "defaults": [
            {"config": each.config_path, "package": each.package, "parent": each.parent}
            for each in defaults.defaults
            if each.config_path is not None and not each.config_path.startswith("hydra/")
        ],
        "defaults-tree": list(_tree(defaults.defaults_tree)),
        "config": OmegaConf.to_container(without, resolve=True),
        "plugins": {
            kind.__name__.lower(): sorted(each.__name__ for each in plugins.discover(kind))
            for kind in (Launcher, Sweeper)
        },
    }


def as_text(found: dict[str, Any]) -> str:
    """The same as a person reads it."""
    return "\n".join(line for kind, value in found.items() for line in _section(kind, value, len(found) > 1)).strip()


def _section(kind: str, value: Any, named: bool) -> Iterator[str]:
    if named:
        yield f"\n{kind}:"
    if kind == "defaults":
        rows = [(each["config"], each["package"] or "_global_", each["parent"] or "") for each in value]
        widths = [max(len(row[column]) for row in [("config", "package", ""), *rows]) for column in (0, 1)]
        for row in [("config", "package", "chosen in"), *rows]:
            yield f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip()
    elif kind in ("groups", "plugins"):
        yield from (f"{name}: {', '.join(each)}" for name, each in value.items())
    elif kind == "config":
        yield yaml.safe_dump(value, sort_keys=False).rstrip()
    else:
        yield from value


def _place(source: DictConfig) -> str:
    return f"{source.schema}://{source.path}" if source.schema != "file" else str(source.path)


def _tree(node: Any, indent: str = "") -> Iterator[str]:
    """A line for each file, below the one that chose it; those of Hydra's own are left out."""
    inner = cast(InputDefault, getattr(node, "node", node))
    name = _named(inner)
    if name.startswith("hydra"):
        return
    if name != "<root>":
        yield f"{indent}{name}"
        indent += "  "
    children: list[Any] = getattr(node, "children", None) or []
    for child in children:
        yield from _tree(child, indent)


def _named(node: InputDefault) -> str:
    if isinstance(node, GroupDefault):
        return f"{node.get_override_key()}: {node.get_name() or 'null'}"
    return node.get_config_path()
