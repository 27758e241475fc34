"""The OpenClaw releases that are known to work, and how npm installs each."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claas.core.checks import one_of
from claas.core.errors import InvalidInput


@dataclass(frozen=True)
class Release:
    """One release: the Node.js it runs on, and what npm needs to be told to install it.

    `stubs` are dependencies replaced by an empty package, `overrides` pins of other ones. `compat`, `agent`,
    `compaction` and `plugin` are what this release alone is told of the model, the agent, its memory and a plugin.
    """

    version: str
    node: str
    npm_flags: tuple[str, ...]
    stubs: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    compat: Mapping[str, Any] = field(default_factory=dict[str, Any])
    agent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    compaction: Mapping[str, Any] = field(default_factory=dict[str, Any])
    plugin: Mapping[str, Any] = field(default_factory=dict[str, Any])


_RELEASES = {
    release.version: release
    for release in (
        Release(
            version="2026.2.25",
            node="22.23.3",
            # Optional dependencies hold prebuilt binaries that its command line loads; a peer would add a gigabyte.
            npm_flags=("--legacy-peer-deps",),
            # libsignal (WhatsApp) comes from git, not from npm; newer linkedom asks for a package that npm lacks.
            stubs=("libsignal",),
            overrides={"linkedom": "0.18.12"},
            # Else it looks at every turn for something to compact.
            compaction={"reserveTokens": 1, "reserveTokensFloor": 0},
        ),
        Release(
            version="2026.9.6",
            node="24.21.0",
            npm_flags=("--omit=optional",),
            compat={"supportsTools": False, "requiresStringContent": True},
            agent={"contextInjection": "never", "skills": []},
            plugin={"hooks": {"allowConversationAccess": True}},
        ),
    )
}

DEFAULT_VERSION = "2026.2.25"
VERSIONS = tuple(_RELEASES)


def release(version: str) -> Release:
    """The release of that version; an unknown one raises `InvalidInput` listing the known ones."""
    one_of("OpenClaw version", version, _RELEASES)
    return _RELEASES[version]


def node_package() -> str:
    """The npm package that holds nothing but Node.js for this machine."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    if platform.system() != "Linux" or machine is None:
        raise InvalidInput(
            f"OpenClaw is installed here on Linux, x86-64 or arm64, and this is {platform.system()} on "
            f"{platform.machine()}; install it as its own documentation says, and point openclaw_url at it"
        )
    return f"node-linux-{machine}"
