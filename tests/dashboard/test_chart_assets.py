"""Scripts are found where they are installed, under names that change with their content."""

import base64
import hashlib
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from claas.core.errors import NotFound
from claas.dashboard.assets import PLOTLY, PLOTLY_STYLE_HASH, address, asset, asset_served_as
from claas.dashboard.pages import CHART_PAGE_HEADERS, PAGE_HEADERS


@pytest.mark.parametrize("script", [PLOTLY, "charts.js"])
def test_a_script_is_served_under_a_name_with_its_hash(script: str) -> None:
    found = asset(script)
    assert hashlib.sha256(found.content).hexdigest()[:16] in found.name
    assert re.fullmatch(r"[a-z]+-[\w.]*-?[0-9a-f]{16}\.js", found.name)
    assert asset_served_as(found.name) is found
    assert address(script) == f"/v1/eval/assets/{found.name}"
    assert len(found.gzipped) < len(found.content) / 2


def test_plotly_s_name_says_its_version() -> None:
    assert asset(PLOTLY).name.startswith(f"plotly-{version('plotly')}-")
    assert b"plotly.js" in asset(PLOTLY).content[:100]


@pytest.mark.parametrize("name", ["charts.js", "charts-0000000000000000.js", "../pages.py", "", "plotly-7.js", "é.js"])
def test_any_other_name_is_not_found(name: str) -> None:
    with pytest.raises(NotFound, match="reload the page"):
        asset_served_as(name)


def test_a_script_that_there_is_not_is_named_with_those_there_are() -> None:
    ours = "bundle charts chat chat_api drawer list live saving sort"
    known = ", ".join(f"{name}.js" for name in ["plotly", *ours.split()])
    with pytest.raises(NotFound, match=rf"no script 'chart.js'; there are {known}$"):
        asset("chart.js")


def test_the_package_s_own_python_is_not_imported() -> None:
    program = "import sys; from claas.dashboard.assets import asset; asset('plotly.js'); print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_page_with_charts_may_run_the_api_s_scripts_and_no_others() -> None:
    policy = CHART_PAGE_HEADERS["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in PAGE_HEADERS["Content-Security-Policy"]


def test_the_style_sheet_that_plotly_adds_is_the_one_that_is_allowed() -> None:
    found = re.search(r"textContent='(\.maplibregl-map(?:[^'\\]|\\.)*)'", asset(PLOTLY).content.decode())
    assert found is not None
    text = found[1].replace("\\n", "\n").replace("\\'", "'")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"sha256-{digest}" == PLOTLY_STYLE_HASH
