"""`GET /v1/eval/assets/{name}`."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Response

from claas.dashboard.assets import ASSET_HEADERS, ASSETS_ADDRESS, asset_served_as

router = APIRouter()

_SCRIPT = "text/javascript; charset=utf-8"


@router.get(f"{ASSETS_ADDRESS}/{{name}}", response_model=None, responses={200: {"content": {"text/javascript": {}}}})
async def eval_asset(name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """A script that the pages load, under a name that changes with its content."""
    found = await asyncio.to_thread(asset_served_as, name)
    if _takes_gzip(accept_encoding):
        headers = {**ASSET_HEADERS, "Content-Encoding": "gzip"}
        return Response(found.gzipped, media_type=_SCRIPT, headers=headers)
    content = await asyncio.to_thread(lambda: found.content)
    return Response(content, media_type=_SCRIPT, headers=ASSET_HEADERS)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, and not with a weight of 0."""
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
