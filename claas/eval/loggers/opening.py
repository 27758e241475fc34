"""The loggers that a run asks for: made by name, told of everything as it happens, and closed with the run."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from claas.core import yaml_files
from claas.core.errors import InvalidInput
from claas.core.redaction import keep_secret, names_secret, without_secrets
from claas.eval.config.catalog import build
from claas.eval.loggers.contents import ending_of, point_of, points_on_record, run_of
from claas.eval.loggers.logger import Ending, EndState, LoggedPoint, Logger
from claas.eval.loggers.sink import Sink
from claas.eval.run.folder import OpenRun
from claas.eval.run.reporter import Reporter
from claas.results.keys import Key
from claas.results.manifest import flat_settings
from claas.results.records import Baseline, StepRecord, Transcript
from claas.results.run_files import PreferenceRecords
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults

_WHEN_INTERRUPTED_S = 5.0
"""How long somebody who has interrupted a run waits for its loggers at most."""


def make_loggers(config: EvalConfig) -> dict[str, Logger]:
    """The loggers of a configuration by name. `InvalidInput` for what there is not, or what is not installed."""
    return {name: _made(name, settings, config.config_dir) for name, settings in config.logger.items()}


def _made(name: str, settings: Mapping[str, Any], config_dir: str | None) -> Logger:
    """From the file of that name, which a person's own settings go before, or from settings that name a class."""
    if "_target_" not in settings:
        path = yaml_files.find("logger", name, config_dir)
        content = yaml_files.read(path)
        if not isinstance(content, dict) or not isinstance(cast(dict[str, Any], content).get(name), dict):
            raise InvalidInput(
                f"{path}: the settings of a logger stand below its name, as in `{name}: {{_target_: ...}}`"
            )
        settings = {**content[name], **settings}
    for key, value in flat_settings(settings).items():
        if names_secret(key):
            keep_secret(str(value))
    made = build(settings, f"logger {name}")
    if missing := [each for each in ("start", "log", "finish") if not callable(getattr(made, each, None))]:
        raise InvalidInput(f"logger {name}: {settings['_target_']} has no method {missing[0]}")
    return made


@asynccontextmanager
async def logged(
    loggers: Mapping[str, Logger],
    run: OpenRun,
    records: Mapping[str, PreferenceRecords],
    unfinished: bool,
    reporter: Reporter,
) -> AsyncGenerator[Reporter]:
    """A reporter that tells `reporter` and these loggers; what is on record is told at once.

    Left when everything has arrived, or once `logger_wait_s` is over.
    """
    if not loggers:
        yield reporter
        return
    shown = run_of(run.files.root, run.manifest, run.config)
    telling = _Telling(reporter, [Sink(name, each, shown, reporter.remarked) for name, each in loggers.items()], run)
    telling.begin(records, unfinished)
    ended = False
    try:
        yield telling
        ended = True
    finally:
        await telling.close(run.config.logger_wait_s if ended else telling.broken_off(sys.exception()))


class _Telling(Reporter):
    """Tells a reporter, and each logger's sink."""

    def __init__(self, reporter: Reporter, sinks: Sequence[Sink], run: OpenRun) -> None:
        self._reporter = reporter
        self.counts_requests = reporter.counts_requests
        self._sinks = sinks
        self._run = run
        self._updates = 0

    def begin(self, records: Mapping[str, PreferenceRecords], unfinished: bool) -> None:
        """Tell what is on record."""
        for sink in self._sinks:
            if unfinished:
                sink.start()
        for point in points_on_record(records):
            self._log(point)

    def end(self, ending: Ending) -> None:
        """Tell how it ended."""
        for sink in self._sinks:
            sink.finish(ending)

    def broken_off(self, error: BaseException | None) -> float:
        """Tell that it ended before it came to its results, and say for how long to wait."""
        stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit)
        state = EndState.INTERRUPTED if stopped else EndState.FAILED
        self.end(Ending(state, without_secrets(str(error)) or None, self._updates, {}))
        return min(_WHEN_INTERRUPTED_S, self._run.config.logger_wait_s) if stopped else self._run.config.logger_wait_s

    async def close(self, within_s: float) -> None:
        """Wait for all of them together."""
        until = time.monotonic() + within_s
        for sink in self._sinks:
            await asyncio.to_thread(sink.close, max(0.0, until - time.monotonic()))

    def doing(self, what: str) -> None:
        """Passed on; no logger shows it."""
        self._reporter.doing(what)

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """Passed on."""
        self._reporter.run_started(config, run_dir, keys, planned)

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Passed on."""
        self._reporter.preference_started(name, resumed_at)

    def requests_planned(self, name: str, requests: Sequence[int]) -> None:
        """Passed on."""
        self._reporter.requests_planned(name, requests)

    def steps_found(self, name: str, steps: Sequence[StepRecord]) -> None:
        """Passed on."""
        self._reporter.steps_found(name, steps)

    def request_ended(self, name: str, request: Transcript) -> None:
        """Passed on."""
        self._reporter.request_ended(name, request)

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """The first point of a track, which a sink that knows it drops."""
        self._reporter.baseline_measured(name, baseline)
        self._log(point_of(name, baseline))

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """A point."""
        self._reporter.step_finished(name, record, seconds)
        self._log(point_of(name, record))

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Passed on; loggers are told at the end of the run."""
        self._reporter.preference_ended(name, failure)

    def stopping(self) -> None:
        """Passed on."""
        self._reporter.stopping()

    def remarked(self, remark: str) -> None:
        """Not for loggers, some of which are remarked upon."""
        self._reporter.remarked(remark)

    def run_finished(self, results: RunResults) -> None:
        """The end, with tables and plots."""
        self._reporter.run_finished(results)
        self.end(ending_of(results.summary, results.preferences, sorted(self._run.files.plots.glob("*.png"))))

    def _log(self, point: LoggedPoint) -> None:
        self._updates = max(self._updates, point.updates)
        for sink in self._sinks:
            sink.log(point)
