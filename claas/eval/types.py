"""The import path of a run's configuration for users: `from claas.eval.types import EvalConfig`."""

from claas.results.settings import EvalConfig, Prices

__all__ = ["EvalConfig", "Prices"]
