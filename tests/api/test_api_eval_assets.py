"""The scripts of the pages: compressed for whoever takes that, kept for a year, and the same to every reader."""

from pathlib import Path

import pytest

from claas.dashboard.assets import PLOTLY, address, asset
from tests.api.client import error, serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("script", [PLOTLY, "charts.js"])
async def test_a_script_is_sent_whole_and_kept(tmp_path: Path, script: str) -> None:
    async with serving(tmp_path) as api:
        packed = await api.http.get(address(script), headers={"Accept-Encoding": "br, gzip;q=0.8"})
        plain = await api.http.get(address(script), headers={"Accept-Encoding": "identity"})
        refused = await api.http.get(address(script), headers={"Accept-Encoding": "gzip;q=0, *"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(asset(script).gzipped)
    for response in (packed, plain, refused):
        assert response.content == asset(script).content
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["vary"] == "Accept-Encoding"
        assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers


@pytest.mark.parametrize("name", ["charts.js", "plotly-7.1.0-0000000000000000.js", "%00"])
async def test_what_is_no_asset_is_not_found(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path) as api:
        assert "reload the page" in error(await api.http.get(f"/v1/eval/assets/{name}"), 404)
