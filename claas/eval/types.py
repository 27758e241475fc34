"""The import path of a run's configuration for users: `from claas.eval.types import EvalConfig`."""

from claas.results.settings import Criteria, EvalConfig, Prices

__all__ = ["Criteria", "EvalConfig", "Prices"]
