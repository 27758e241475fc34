"""Labels of runs over HTTP: tags, notes, and whether a run is archived."""

from pydantic import Field

from claas.wire import Body, RequestBody


class LabelsRequest(RequestBody):
    """What to change in these runs' labels; what is left out stays. `results_dir` as in the address of the list."""

    runs: list[str] = Field(min_length=1, max_length=200)
    add: list[str] = Field(default=[], max_length=20)
    remove: list[str] = Field(default=[], max_length=20)
    note: str | None = None
    archived: bool | None = None
    results_dir: str | None = None


class RunLabels(Body):
    """The labels of one run, after a change."""

    schema_version: int
    tags: list[str]
    note: str
    archived: bool


class LabelsResponse(Body):
    """The labels of every run in the request, by its folder."""

    labels: dict[str, RunLabels]
