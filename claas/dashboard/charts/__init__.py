"""The pictures of a run for a page: plotly figures, and the same numbers as tables."""
