"""An installed wheel works from any directory, without the source checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds our wheel, and sees only our dependencies besides."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    run(*build, cwd=folder)
    (wheel,) = folder.glob("claas-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", site_packages]
    run(*install, wheel, cwd=folder)
    # A path listed in a .pth file is searched after the environment's own, and its own .pth files (the editable
    # install of this checkout) are not followed.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_and_not_the_checkout_is_what_runs(installed_python: Path, tmp_path: Path) -> None:
    location = run(installed_python, "-c", "import claas; print(claas.__file__)", cwd=tmp_path).strip()
    assert Path(location).is_relative_to(installed_python.parents[1])


@pytest.mark.slow
def test_the_main_job_runs_from_the_wheel(installed_python: Path, tmp_path: Path) -> None:
    overrides = ["preferences=[concise]", "num_steps=2", "metrics=quick", "limit={heldout: 4}", "max_tokens=24"]
    run(installed_python, "-m", "claas.eval", *overrides, "output_dir=run", cwd=tmp_path)
    lines = (tmp_path / "run" / "concise" / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verdict"] in {"pass", "fail", "inconclusive"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_the_feedback_page_is_made_from_the_wheel(installed_python: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from claas.dashboard.feedback import feedback_page; "
        "print(feedback_page(Path('none'), 1, 20))"
    )
    assert "No feedback has been given yet" in run(installed_python, "-c", program, cwd=tmp_path)
