"""What OpenClaw is told: `openclaw.json`, an empty workspace, and the plugin for the system prompt."""

import json
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from claas.core.files import write_atomically, writing
from claas.openclaw.release import release
from claas.openclaw.settings import GatewaySettings

_PROVIDER = "vllm"
"""Of a provider by this name OpenClaw takes the key from `VLLM_API_KEY`; a key of another it writes to a file."""

_PLUGIN = "small-prompt"
_DECLARED_WINDOW = 65536
_TIMEOUT_S = 120
_KEPT_SESSIONS = 200
_WORKSPACE = ("AGENTS", "SOUL", "TOOLS", "IDENTITY", "USER", "HEARTBEAT")


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
        shutil.copytree(str(resources.files("claas.openclaw") / "plugin"), runtime / "plugin", dirs_exist_ok=True)
    path = runtime / "openclaw.json"
    write_atomically(path, json.dumps(configuration(settings), indent=2) + "\n")
    return path


def configuration(settings: GatewaySettings) -> Mapping[str, Any]:
    """`openclaw.json`."""
    return {
        "gateway": {
            "mode": "local",
            "port": settings.port,
            "bind": "loopback",
            "auth": {"mode": "token"},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
            "controlUi": {"enabled": False},
        },
        "models": {"mode": "replace", "providers": {_PROVIDER: _provider(settings)}},
        "agents": {"defaults": _agent(settings)},
        # The API takes no tool calls.
        "tools": {"profile": "minimal", "deny": ["*"]},
        "skills": {"allowBundled": ["none"]},
        "plugins": _plugins(settings),
        # Each answer to a request without a user leaves a session behind; beyond the cap the oldest go.
        "session": {"maintenance": {"mode": "enforce", "maxEntries": _KEPT_SESSIONS}},
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
    slots = {"memory": "none"}
    if settings.system_prompt is None:
        return {"enabled": False, "slots": slots}
    entry = {"enabled": True, "config": {"prompt": settings.system_prompt}, **release(settings.version).plugin}
    return {
        "enabled": True,
        "allow": [_PLUGIN],
        "load": {"paths": [str(settings.runtime / "plugin")]},
        "slots": slots,
        "entries": {_PLUGIN: entry},
    }
