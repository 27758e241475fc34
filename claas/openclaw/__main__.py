"""`python -m claas.openclaw`: installs OpenClaw where it is missing, configures it and runs it in the foreground.

This process becomes the gateway, so that a signal to the one ends the other.
"""

import argparse
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import NoReturn

from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing
from claas.core.output import Done, Parser, ended
from claas.core.settings import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.openclaw.configuration import ADAPTER_PER, GatewaySettings, configure
from claas.openclaw.install import VERSIONS, Installation, install, release

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 installed, 2 the user's mistake, 3 the installation or the start failed.

    Otherwise this process becomes the gateway, and its exit code is OpenClaw's own.
    """
    return ended("claas.openclaw", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    options = _parser().parsed(arguments)
    settings = _settings(options)
    if not options.install_only:
        _require_startable(settings, os.environ)
    installed = install(release(settings.version), settings.installed)
    configuration = configure(settings)
    url = f"http://127.0.0.1:{settings.port}"
    told = {"release": settings.version, "configuration": str(configuration)}
    if options.install_only:
        print(f"OpenClaw {settings.version} is installed; its configuration is {configuration}")
        return Done(result={**told, "url": None})
    print(f"OpenClaw {settings.version} in front of {settings.api_url} at {url}")
    if settings.feedback:
        print(f"People chat at {url}/#token=<{TOKEN_VARIABLE}>, and teach by /feedback")
    return Done(result={**told, "url": url}, becomes=partial(_start, settings, installed, configuration, os.environ))


def _settings(arguments: argparse.Namespace) -> GatewaySettings:
    chosen = {field.name: getattr(arguments, field.name) for field in fields(GatewaySettings)}
    chosen["folder"] = arguments.folder.absolute()
    if arguments.own_system_prompt:
        chosen["system_prompt"] = None
    return GatewaySettings(**chosen)


def _require_startable(settings: GatewaySettings, environment: Mapping[str, str]) -> None:
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


def _start(
    settings: GatewaySettings, installed: Installation, configuration: Path, environment: Mapping[str, str]
) -> NoReturn:
    """Become the gateway.

    Sessions of earlier starts are deleted, unless they are people's: each answer leaves one and slows the next.
    """
    state = settings.runtime / "state"
    with writing(state):
        if not settings.feedback:
            shutil.rmtree(state, ignore_errors=True)
        state.mkdir(exist_ok=True)
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
    """The gateway's variables: of the user's own only PATH and the two secrets, since OpenClaw reads many variables."""
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


def _parser() -> Parser:
    default = GatewaySettings()
    parser = Parser(
        "claas openclaw",
        "Install an OpenClaw gateway from npm, configure it in front of a CLaaS API, and run it in the foreground. "
        "The environment variable OPENCLAW_GATEWAY_TOKEN holds the token that it wants, CLAAS_API_KEY the key that the "
        "API wants, if any.",
    )
    add = parser.add_argument
    add("--release", dest="version", default=default.version, help=f"of OpenClaw: one of {', '.join(VERSIONS)}")
    add("--folder", type=Path, default=default.folder, help="where it is installed and keeps its files")
    add("--port", type=int, default=default.port, help="on 127.0.0.1")
    add("--api-url", default=default.api_url, help="the API, as this machine reaches it")
    add("--alias", default=default.alias, help="the model that it asks the API for: the harness' openclaw_alias")
    add("--temperature", type=float, default=default.temperature, help="of every answer (2026.2.25)")
    add("--max-tokens", type=int, default=default.max_tokens, help="bound of every answer (2026.2.25)")
    add("--concurrency", type=int, default=default.concurrency, help="answers at once")
    add("--system-prompt", default=default.system_prompt, help="said in place of OpenClaw's own")
    add("--own-system-prompt", action="store_true", help="leave OpenClaw its own, of 6,400 characters and more")
    add("--feedback", action="store_true", help="for people, who teach it by /feedback")
    add("--adapter-per", choices=ADAPTER_PER, default=default.adapter_per, help="who has an adapter of their own")
    add("--batch", type=int, default=default.batch, help="feedbacks that are learnt at once")
    add("--steps", type=int, default=default.steps, help="optimiser steps for each batch")
    add("--wait-s", type=float, default=default.wait_s, help="how long the chat waits for a lesson before it says so")
    add("--install-only", action="store_true", help="do not start it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
