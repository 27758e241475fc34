"""What every test shares: laws are tried on fifty examples, a slow machine is no failure, and nothing costs money."""

import gc
import os

import pytest
from hypothesis import settings

settings.register_profile("claas", deadline=None, max_examples=50)
settings.load_profile("claas")

# What a test writes need not outlive the machine; those of what must outlive it have a disk of their own.
os.fsync = lambda fd: None

gc.disable()  # while modules and tests are collected, all of which stay

# Where a test forgets to say which Tinker service it means, there is none: never the one that is paid for.
os.environ["TINKER_BASE_URL"] = "http://127.0.0.1:9"
os.environ["TINKER_TELEMETRY"] = "0"
# Nor is there a Modal: neither its servers nor the account of whoever runs the tests.
os.environ["MODAL_SERVER_URL"] = "http://127.0.0.1:9"
os.environ["MODAL_CONFIG_PATH"] = os.devnull
for variable in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_PROFILE", "CLAAS_MODAL_APP", "CLAAS_MODAL_BASE_MODEL"):
    os.environ.pop(variable, None)
for variable in ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD", "CLAAS_TINKER_API_KEY"):
    os.environ.pop(variable, None)
for variable in ("CLAAS_VLLM_URL", "CLAAS_VLLM_API_KEY"):
    os.environ.pop(variable, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first, so that none of them is left to one worker at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What was collected is not looked through again at every collection of garbage, and those come seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
