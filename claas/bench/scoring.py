"""One task asked of one model by lm-eval, which is imported when the first one is."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from claas.bench.answers import remembering
from claas.bench.project import Raw
from claas.bench.surroundings import SENTENCES, describe_machine_once
from claas.core.errors import ClaasError, MissingExtra
from claas.core.text import one_line

Runner = Callable[..., Raw]
"""`lm_eval.simple_evaluate`, or something in its place."""


class TaskFailed(ClaasError):
    """A task that lm-eval could not finish: its data are not here, or its code broke. The other tasks go on."""


def require_lm_eval() -> None:
    """Import lm-eval, quietly; `MissingExtra` says what to install."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        import_module("lm_eval")
    except ModuleNotFoundError as error:
        raise MissingExtra("lm-eval", "bench") from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    describe_machine_once()
    with suppress(ModuleNotFoundError):  # IFEval guesses the language of an answer: the same way each time
        import_module("langdetect").DetectorFactory.seed = 0


def evaluate(model: Any, *, data: str, answers: Path, runner: Runner | None = None, **settings: Any) -> Raw:
    """What lm-eval finds with `settings`; `answers` is a file of those of the same weights, `data` is named in errors.

    `TaskFailed` whatever goes wrong in the task; what is wrong with the model's server is raised as it is.
    """
    runner = runner or cast(Runner, import_module("lm_eval").simple_evaluate)
    try:
        with remembering(model, answers):
            return runner(model=model, log_samples=True, bootstrap_iters=1000, **settings)
    except ClaasError:
        raise
    except Exception as error:  # a task is somebody else's code
        if isinstance(error, LookupError) and SENTENCES in str(error):
            said = f"it counts sentences with nltk's {SENTENCES}: python -m nltk.downloader {SENTENCES}"
        else:
            said = what_broke(error, data)
        raise TaskFailed(said) from error


def what_broke(error: Exception, data: str) -> str:
    """An error of lm-eval's code on one line; of one that may be for want of its `data`, where these can be."""
    said = f"{type(error).__name__}: {one_line(error)}"
    if not isinstance(error, OSError):
        return said
    return f"{said}; its data are {data} of the Hugging Face hub, or that folder in datasets_dir"
