"""`python -m claas.openclaw` as a process, with an npm that installs a Node.js which tells what it was started with."""

import json
import os
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="OpenClaw is installed on Linux only")

NPM = """#!{python}
import json, os, sys
from pathlib import Path
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if Path({broken!r}).exists():
    sys.exit("npm error 404 no such package")
(package,) = json.load(open("package.json"))["dependencies"]
if package == "openclaw":
    Path("node_modules/openclaw").mkdir(parents=True)
else:
    node = Path("node_modules") / package / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.write_text({node!r})
    node.chmod(0o755)
"""
NODE = """#!{python}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}))
"""


@dataclass
class Machine:
    """A folder with a PATH of its own, and a port that nobody listens on."""

    folder: Path
    port: int

    def run(self, *arguments: str, token: str = "do-not-tell", npm: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder / "bin") if npm else "", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        environment["CLAAS_API_KEY"] = "the API's key"
        if token:
            environment["OPENCLAW_GATEWAY_TOKEN"] = token
        command = [sys.executable, "-m", "claas.openclaw", "--port", str(self.port), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60)

    @property
    def installs(self) -> list[str]:
        log = self.folder / "npm.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "bin").mkdir()
    node = NODE.format(python=sys.executable)
    script = NPM.format(
        python=sys.executable, log=str(tmp_path / "npm.log"), broken=str(tmp_path / "broken"), node=node
    )
    npm = tmp_path / "bin" / "npm"
    npm.write_text(script)
    npm.chmod(0o755)
    return Machine(tmp_path, port)


def test_it_installs_once_configures_and_becomes_the_gateway(machine: Machine) -> None:
    first = machine.run()
    assert first.returncode == 0, first.stderr
    assert "OpenClaw 2026.2.25 in front of http://127.0.0.1:8080/v1 at" in first.stdout
    started = json.loads(first.stdout.splitlines()[-1])
    runtime = machine.folder / ".openclaw" / "2026.2.25" / f"port-{machine.port}"
    assert started["arguments"][1:] == ["gateway", "run"]
    assert started["arguments"][0].endswith("openclaw/openclaw.mjs")
    assert started["folder"] == str(runtime)
    told = started["environment"]
    assert (told["OPENCLAW_GATEWAY_TOKEN"], told["VLLM_API_KEY"]) == ("do-not-tell", "the API's key")
    assert told["OPENCLAW_CONFIG_PATH"] == str(runtime / "openclaw.json")
    assert told["OPENCLAW_STATE_DIR"] == str(runtime / "state")
    assert told["HOME"] == str(runtime / "home")
    assert len(machine.installs) == 2
    assert all("--ignore-scripts" in line for line in machine.installs)
    (runtime / "state" / "session").write_text("of an earlier start")
    again = machine.run("--json")
    assert again.returncode == 0
    assert "installing" not in again.stderr
    document = json.loads(again.stdout)
    assert document["result"] == {
        "release": "2026.2.25",
        "configuration": str(runtime / "openclaw.json"),
        "url": f"http://127.0.0.1:{machine.port}",
    }
    assert json.loads(again.stderr.splitlines()[-1])["arguments"] == started["arguments"]
    assert len(machine.installs) == 2
    assert not (runtime / "state" / "session").exists()


def test_an_installation_that_failed_is_told_in_npms_words_and_begun_anew(machine: Machine) -> None:
    (machine.folder / "broken").touch()
    failed = machine.run("--install-only")
    assert failed.returncode == 3
    assert "npm failed with exit code 1" in failed.stderr
    assert "404 no such package" in failed.stderr
    (machine.folder / "broken").unlink()
    mended = machine.run("--install-only")
    assert mended.returncode == 0, mended.stderr
    assert "OpenClaw 2026.2.25 is installed" in mended.stdout
    assert os.access(next(machine.folder.glob(".openclaw/2026.2.25/node/node_modules/node-linux-*/bin/node")), os.X_OK)


def test_without_npm_nothing_is_begun(machine: Machine) -> None:
    refused = machine.run("--install-only", npm=False)
    assert refused.returncode == 2
    assert "npm is not installed" in refused.stderr
    assert not (machine.folder / ".openclaw").exists()


def test_without_a_token_nothing_is_installed(machine: Machine) -> None:
    refused = machine.run(token="")
    assert refused.returncode == 2
    assert "OPENCLAW_GATEWAY_TOKEN is not set" in refused.stderr
    assert not machine.installs


def test_a_port_that_is_taken_is_named(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", machine.port))
        taken.listen()
        refused = machine.run()
    assert refused.returncode == 3
    assert f"port {machine.port} on 127.0.0.1 cannot be had" in refused.stderr
    assert not machine.installs


def test_a_mistake_is_one_line(machine: Machine) -> None:
    refused = machine.run("--release", "1")
    assert refused.returncode == 2
    assert refused.stderr.startswith("claas.openclaw: unknown OpenClaw version '1'; known: ")
    assert refused.stderr.count("\n") == 1
