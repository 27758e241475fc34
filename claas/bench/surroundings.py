"""What lm-eval asks of its surroundings: the machine once, and nobody who does not answer."""

import os
from collections.abc import Iterable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import cache
from importlib import import_module
from io import StringIO
from typing import Any

_WAIT_S = 5.0

_IFEVAL = "lm_eval.tasks.ifeval.instructions_util"
SENTENCES = "punkt_tab"


@cache
def describe_machine_once() -> None:
    """Let lm-eval describe the machine for its results once, not for each task; and not ask git where there is none.

    That takes a second each time, and git complains on stderr. `simple_evaluate` does both in every call and has no
    setting for either, and `lm_eval.evaluate` below it leaves out seeds, default shots and gen_kwargs. So the two
    names by which it calls them are given other functions.
    """
    evaluator: Any = import_module("lm_eval.evaluator")
    utils: Any = import_module("lm_eval.loggers.utils")

    @cache
    def machine() -> dict[str, Any]:
        found: dict[str, Any] = {}
        utils.add_env_info(found)
        return found

    def add_env_info(results: dict[str, Any]) -> None:
        results.update(machine())

    evaluator.add_env_info = add_env_info
    evaluator.get_git_commit_hash = lambda: utils.get_commit_from_path(os.getcwd())


def share_progress_lock() -> None:
    """Let several threads read data sets at once: each makes tqdm's lock where there is none, and then removes it."""
    tqdm: Any = import_module("tqdm")
    tqdm.tqdm.get_lock()


@cache
def hub_answers() -> bool:
    """Whether the Hugging Face hub does. If not, what is here already is read, and nothing is waited for any more.

    HF_HUB_OFFLINE, by which one says so from outside, was read into these constants when the libraries were imported.
    """
    constants: Any = import_module("huggingface_hub.constants")
    if constants.is_offline_mode():
        return False
    try:
        import_module("huggingface_hub").get_session().head(constants.ENDPOINT, timeout=_WAIT_S)
    except Exception:  # requests, httpx or httpx2, by the hub's version: their errors have nothing else in common
        data: Any = import_module("datasets.config")
        constants.HF_HUB_OFFLINE = data.HF_HUB_OFFLINE = True
        return False
    return True


def import_checks(tasks: Iterable[str]) -> None:
    """Import IFEval's checks where `tasks` have them, quietly.

    They fetch what nltk counts sentences with, unless it is here, and say that they did whether or not it came. The
    import itself does that and cannot be told not to: where nobody would answer, it finds nothing to fetch by.
    """
    if not any("ifeval" in task for task in tasks):
        return
    nltk: Any = import_module("nltk")
    with ExitStack() as quiet:
        quiet.enter_context(redirect_stdout(StringIO()))
        quiet.enter_context(redirect_stderr(StringIO()))
        if not _has_sentences() and not hub_answers():
            fetch = nltk.download
            nltk.download = bool
            quiet.callback(setattr, nltk, "download", fetch)
        import_module(_IFEVAL)


def _has_sentences() -> bool:
    try:
        import_module("nltk").data.find(f"tokenizers/{SENTENCES}")
    except LookupError:
        return False
    return True
