"""The gateway in the foreground: this process becomes it, so that a signal to the one ends the other."""

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing
from claas.core.settings import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.openclaw.install import Installation
from claas.openclaw.settings import GatewaySettings

_SWITCHED_OFF = (
    "OPENCLAW_SKIP_CHANNELS",
    "OPENCLAW_SKIP_CRON",
    "OPENCLAW_SKIP_CANVAS_HOST",
    "OPENCLAW_SKIP_GMAIL_WATCHER",
    "OPENCLAW_SKIP_BROWSER_CONTROL_SERVER",
    "OPENCLAW_DISABLE_BONJOUR",
    "OPENCLAW_NO_RESPAWN",
    "OPENCLAW_NO_AUTO_UPDATE",
)


def require_startable(settings: GatewaySettings, environment: Mapping[str, str]) -> None:
    """Raise `InvalidInput` without a token in the environment, `StackError` when the port is taken."""
    if not environment.get(TOKEN_VARIABLE):
        raise InvalidInput(
            f"{TOKEN_VARIABLE} is not set; choose a secret, and set it to the same one where the gateway is started "
            "and where the harness runs"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.port))
        except OSError as error:
            raise StackError(
                f"port {settings.port} on 127.0.0.1 cannot be had ({error.strerror}); end what listens there, or "
                "choose another one with --port and openclaw_url"
            ) from error


def start(
    settings: GatewaySettings, installed: Installation, configuration: Path, environment: Mapping[str, str]
) -> NoReturn:
    """Become the gateway. Sessions of earlier starts are forgotten: each answer leaves one, which slows the next."""
    state = settings.runtime / "state"
    with writing(state):
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
    command = [str(installed.node), str(installed.program), "gateway", "run"]
    try:
        os.chdir(settings.runtime)
        os.execve(installed.node, command, _environment(settings, installed, configuration, environment))
    except OSError as error:
        raise StackError(
            f"{installed.node} cannot be started: {error.strerror}; remove {settings.installed} to install it anew"
        ) from error


def _environment(
    settings: GatewaySettings, installed: Installation, configuration: Path, outer: Mapping[str, str]
) -> dict[str, str]:
    """Nothing of the user's own but the two secrets: OpenClaw reads many variables."""
    return {
        "PATH": f"{installed.node.parent}{os.pathsep}{outer.get('PATH', os.defpath)}",
        "HOME": str(settings.runtime / "home"),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "OPENCLAW_STATE_DIR": str(settings.runtime / "state"),
        "OPENCLAW_CONFIG_PATH": str(configuration),
        TOKEN_VARIABLE: outer[TOKEN_VARIABLE],
        "VLLM_API_KEY": outer.get(API_KEY_VARIABLE) or "none",
        **dict.fromkeys(_SWITCHED_OFF, "1"),
    }
