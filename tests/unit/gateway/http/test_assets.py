"""The files of the page, as they are served from memory."""

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from service.gateway.http.assets import Assets


async def served(folder: Path, name: str) -> Response:
    scope = {"type": "http", "method": "GET", "headers": [], "path_params": {"name": name}}
    return await Assets(folder).file(Request(scope))


async def test_files_of_equal_size_and_time_have_different_etags(tmp_path: Path) -> None:
    etags = []
    for content in ("export const a = 1\n", "export const a = 2\n"):
        (tmp_path / "a.js").write_text(content)
        os.utime(tmp_path / "a.js", (1_000_000_000, 1_000_000_000))
        response = await served(tmp_path, "a.js")
        etags.append(response.headers["etag"])
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert etags[0] != etags[1]
    assert not any(etag.startswith("W/") for etag in etags)


async def test_files_in_folders_are_served_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "b.bin").write_bytes(b"\x00")
    response = await served(tmp_path, "client/b.bin")
    assert (response.body, response.headers["content-type"]) == (b"\x00", "application/octet-stream")
