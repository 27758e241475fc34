"""The gateway's settings, and the files made from them: `openclaw.json`, an empty workspace and the plugins."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from claas.core.checks import alias_name, in_range, one_of
from claas.core.errors import InvalidInput
from claas.core.files import write_atomically, writing
from claas.core.settings import DEFAULT_ALIAS
from claas.openclaw.install import DEFAULT_VERSION, release

_PROVIDER = "vllm"
"""The provider whose key OpenClaw reads from the environment (`VLLM_API_KEY`); other providers' keys go into a file."""

_PROMPT_PLUGIN, _FEEDBACK_PLUGIN = "small-prompt", "claas-feedback"
_FOLDERS = {_PROMPT_PLUGIN: "plugin", _FEEDBACK_PLUGIN: "feedback_plugin"}
ADAPTER_PER = ("everyone", "conversation", "user")
"""Who has an adapter to be taught: all together, each conversation, or each user."""

_DECLARED_WINDOW = 65536
_TIMEOUT_S = 120
_KEPT_SESSIONS = 200
_WORKSPACE = ("AGENTS", "SOUL", "TOOLS", "IDENTITY", "USER", "HEARTBEAT")


@dataclass(frozen=True)
class GatewaySettings:
    """Which OpenClaw to start, where, and in front of which API.

    `folder`: an absolute path, where it is installed and keeps its files. `api_url`: the API's OpenAI-compatible root.
    `alias`: the model id that every request names there. `system_prompt`: replaces OpenClaw's own; None keeps that one,
    whose 6,400 characters and more fit no small window. `temperature`, `max_tokens`: used for every answer (2026.2.25;
    in 2026.9.6 a request may choose). `concurrency`: answers at once; further requests wait in the gateway.
    `feedback`: for people, who teach it by `/feedback`: an adapter for each of `adapter_per`, learning from `batch`
    feedbacks at once, `steps` optimiser steps for each batch, announced where that takes more than `wait_s`.
    """

    version: str = DEFAULT_VERSION
    folder: Path = field(default_factory=lambda: Path(".openclaw").absolute())
    port: int = 18789
    api_url: str = "http://127.0.0.1:8080/v1"
    alias: str = DEFAULT_ALIAS
    system_prompt: str | None = "You are a helpful assistant."
    temperature: float = 0.7
    max_tokens: int = 400
    concurrency: int = 32
    feedback: bool = False
    adapter_per: str = "everyone"
    batch: int = 1
    steps: int = 8
    wait_s: float = 20.0

    def __post_init__(self) -> None:
        release(self.version)
        in_range("port", self.port, 1, 65535)
        in_range("temperature", self.temperature, 0.0, 2.0)
        in_range("max_tokens", self.max_tokens, 1)
        in_range("concurrency", self.concurrency, 1)
        one_of("adapter_per", self.adapter_per, ADAPTER_PER)
        in_range("batch", self.batch, 1, 64)
        in_range("steps", self.steps, 1, 32)
        in_range("wait_s", self.wait_s, 0.0)
        alias_name(self.alias)
        if self.system_prompt == "":
            raise InvalidInput("system_prompt must say something; to leave OpenClaw's own, ask for that")
        if not _is_address(self.api_url):
            raise InvalidInput("api_url must be an address like http://127.0.0.1:8080/v1, without a name or a password")

    @property
    def installed(self) -> Path:
        """Folder of this version's programs."""
        return self.folder / self.version

    @property
    def runtime(self) -> Path:
        """Folder of what the gateway on this port reads and writes: configuration, workspace, sessions, log."""
        return self.installed / f"port-{self.port}"


def _is_address(value: str) -> bool:
    """Whether this is an http address that carries no secret, which would be written to a file."""
    try:
        url = urlsplit(value)
        url.port  # noqa: B018  # raises where it is none
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and "@" not in url.netloc


def configure(settings: GatewaySettings) -> Path:
    """Write everything the gateway reads into its runtime folder; returns the path of `openclaw.json`.

    No secret is in it: the gateway reads its token, and the API's key if it wants one, from the environment.
    """
    runtime = settings.runtime
    with writing(runtime):
        workspace = runtime / "workspace"
        workspace.mkdir(parents=True, exist_ok=True)
        for name in _WORKSPACE:  # an empty file keeps OpenClaw from writing one of its own, which it adds to its prompt
            (workspace / f"{name}.md").touch()
        (runtime / "home").mkdir(exist_ok=True)
        for name, folder in _FOLDERS.items():
            source = str(resources.files("claas.openclaw") / folder)
            shutil.copytree(source, runtime / "plugins" / name, dirs_exist_ok=True)
    path = runtime / "openclaw.json"
    write_atomically(path, json.dumps(configuration(settings), indent=2) + "\n")
    return path


def configuration(settings: GatewaySettings) -> Mapping[str, Any]:
    """The content of `openclaw.json`."""
    return {
        "gateway": {
            "mode": "local",
            "port": settings.port,
            "bind": "loopback",
            "auth": {"mode": "token"},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
            "controlUi": {"enabled": settings.feedback},
        },
        "models": {"mode": "replace", "providers": {_PROVIDER: _provider(settings)}},
        "agents": {"defaults": _agent(settings)},
        # The API takes no tool calls.
        "tools": {"profile": "minimal", "deny": ["*"]},
        "skills": {"allowBundled": ["none"]},
        "plugins": _plugins(settings),
        # Each answer to a request without a user leaves a session behind; beyond the cap the oldest go.
        "session": {"maintenance": {"mode": "enforce", "maxEntries": _KEPT_SESSIONS}},
        **(release(settings.version).hooks if settings.feedback else {}),
        "logging": {"file": str(settings.runtime / "gateway.log")},
        "discovery": {"mdns": {"mode": "off"}},
        "update": {"checkOnStart": False},
    }


def _provider(settings: GatewaySettings) -> Mapping[str, Any]:
    """The API as a provider with one model, whose window is declared larger than it may be.

    OpenClaw refuses windows below 16,000 tokens, and goes into compaction, which hangs, when one is exceeded.
    """
    compat = {
        "supportsStore": False,
        "supportsDeveloperRole": False,
        "supportsReasoningEffort": False,
        "maxTokensField": "max_tokens",
        **release(settings.version).compat,
    }
    model = {
        "id": settings.alias,
        "name": settings.alias,
        "reasoning": False,
        "input": ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": _DECLARED_WINDOW,
        "maxTokens": settings.max_tokens,
        "compat": compat,
    }
    return {
        "baseUrl": settings.api_url,
        "api": "openai-completions",
        "models": [model],
    }


def _agent(settings: GatewaySettings) -> Mapping[str, Any]:
    model = f"{_PROVIDER}/{settings.alias}"
    params = {"temperature": settings.temperature, "maxTokens": settings.max_tokens}
    return {
        "model": {"primary": model},
        "models": {model: {"params": params}},
        "workspace": str(settings.runtime / "workspace"),
        "skipBootstrap": True,
        "heartbeat": {"every": "0m"},
        "timeoutSeconds": _TIMEOUT_S,
        "maxConcurrent": settings.concurrency,
        "compaction": {"memoryFlush": {"enabled": False}, **release(settings.version).compaction},
        **release(settings.version).agent,
    }


def _plugins(settings: GatewaySettings) -> Mapping[str, Any]:
    chosen: dict[str, Mapping[str, Any]] = {}
    if settings.system_prompt is not None:
        chosen[_PROMPT_PLUGIN] = {"prompt": settings.system_prompt}
    if settings.feedback:
        chosen[_FEEDBACK_PLUGIN] = _feedback(settings)
    own = release(settings.version).plugin
    return {
        "enabled": bool(chosen),
        "allow": list(chosen),
        "load": {"paths": [str(settings.runtime / "plugins" / name) for name in chosen]},
        "slots": {"memory": "none"},
        "entries": {name: {"enabled": True, "config": config, **own} for name, config in chosen.items()},
    }


def _feedback(settings: GatewaySettings) -> Mapping[str, Any]:
    """What the plugin's own `configSchema` asks for."""
    return {
        "apiUrl": settings.api_url,
        "provider": _PROVIDER,
        "alias": settings.alias,
        "adapter": f"openclaw/{settings.alias}",
        "adapterPer": settings.adapter_per,
        "batch": settings.batch,
        "steps": settings.steps,
        "waitSeconds": settings.wait_s,
    }
