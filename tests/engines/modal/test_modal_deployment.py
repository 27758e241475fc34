"""What `modal deploy` sends, by the real command, to a service of Modal's wire on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import claas
from claas.engines.modal.rpc import Deployment
from tests.fakes.modal_service import running_modal

ROOT = Path(claas.__file__).parents[1]


def deploy(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`modal deploy`, away from the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "modal", "deploy", "-m", "claas.engines.modal.app"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def sent(fake: Any, name: str) -> list[Any]:
    return [request for kind, request in fake.deployed if kind == name]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The service after the command without any setting."""
    folder = tmp_path_factory.mktemp("deployed")
    with pytest.MonkeyPatch.context() as patch, running_modal(patch, folder / "volume") as fake:
        patch.delenv("CLAAS_MODAL_BASE_MODEL")
        patch.delenv("CLAAS_MODAL_STORE")
        done = deploy(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        yield fake


def test_one_container_with_gpu_volumes_and_many_calls_at_once(deployed: Any) -> None:
    (request,) = sent(deployed, "FunctionCreate")
    function = request.function
    assert (function.module_name, function.function_name) == ("claas.engines.modal.app", "Remote.*")
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("L40S", 1)
    mounts = {mount.mount_path: mount.volume_id for mount in function.volume_mounts}
    assert mounts == {"/adapters": "vo-claas-adapters", "/models": "vo-claas-models"}
    assert (function.concurrency_limit, function.max_concurrent_inputs) == (1, 256)
    assert (function.timeout_secs, function.task_idle_timeout_secs) == (1800, 300)
    (publish,) = sent(deployed, "AppPublish")
    assert dict(publish.function_ids) == {"Remote.*": "fu-1"}
    assert dict(publish.class_ids) == {"Remote": "cs-1"}


def test_the_container_reads_the_same_settings(deployed: Any) -> None:
    (secret,) = sent(deployed, "SecretGetOrCreate")
    assert Deployment.of(dict(secret.env_dict)) == Deployment()
    assert secret.env_dict["HF_HOME"] == "/models"


def test_the_image_has_what_the_engine_needs_at_pinned_versions_and_this_source(deployed: Any) -> None:
    commands = [line for image in sent(deployed, "ImageGetOrCreate") for line in image.image.dockerfile_commands]
    (install,) = [line for line in commands if "pip install" in line and "torch" in line]
    assert "--constraint /constraints.txt" in install
    for package in ("torch", "transformers", "peft", "safetensors", "pydantic"):
        assert f"'{package}>=" in install
    assert "extra ==" not in install
    assert "pytest" not in install
    mounted = {file.filename for mount in sent(deployed, "MountGetOrCreate") for file in mount.files}
    assert {"/root/claas/engines/modal/app.py", "/root/claas/tiny/weights/model.safetensors"} <= mounted
    assert not [name for name in mounted if name.endswith(".pyc") or "/tests/" in name]


def test_settings_come_from_the_environment(deployed: Any, tmp_path: Path) -> None:
    deployed.deployed.clear()
    done = deploy(tmp_path, CLAAS_MODAL_APP="claas-2", CLAAS_MODAL_BASE_MODEL="Qwen/Qwen3-4B", CLAAS_MODAL_GPU="none")
    assert done.returncode == 0, done.stdout + done.stderr
    (request,) = sent(deployed, "FunctionCreate")
    assert (request.function.app_name, request.function.resources.gpu_config.count) == ("claas-2", 0)
    assert "vo-claas-2-adapters" in {mount.volume_id for mount in request.function.volume_mounts}
    (secret,) = sent(deployed, "SecretGetOrCreate")
    assert Deployment.of(dict(secret.env_dict)).base_model == "Qwen/Qwen3-4B"


def test_an_empty_environment_means_the_defaults() -> None:
    assert Deployment.of({}) == Deployment("claas", "Qwen/Qwen3-8B", "L40S", "/adapters")


def test_modal_is_imported_by_its_mode_only() -> None:
    code = "import sys, claas.api.__main__, claas.eval.__main__; print('modal' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
