"""Pictures of a run. `write_plots` draws whatever has been measured so far."""

from claas.eval.plots.pages import write_plots

__all__ = ["write_plots"]
