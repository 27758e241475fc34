"""A run of kfallah/CLaaS as a page: its numbers as curves and its transcripts, to be read and nothing else."""

from claas.dashboard.charts import charts_of
from claas.dashboard.pages import Addresses, render
from claas.results.foreign import ForeignRun


def foreign_run_page(run: ForeignRun, addresses: Addresses) -> str:
    """HTML of the run. There are no intervals: nothing on record there says what they would be made of."""
    return render(
        "foreign.html",
        run=run,
        addresses=addresses,
        shown=charts_of(run.histories, {}, lambda history, updates, criterion: None),
        records={
            name: [
                *([(0, history.baseline)] if history.baseline else []),
                *((step.step + 1, step) for step in history.steps),
            ]
            for name, history in run.histories.items()
        },
    )
