"""The run's report, which the dashboard makes: the one place where the harness knows of it."""

from pathlib import Path

from claas.dashboard.report import write_report as _write_report


def write_report(run_dir: Path) -> Path:
    """Write `report.html` of the run in `run_dir`, which has come to its end, and say where it is."""
    return _write_report(run_dir, ended=True)
