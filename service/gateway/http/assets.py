"""Serves the files of the page from memory, each with a strong ETag of its content.

Browsers revalidate each file (`no-cache`), so that after an upgrade no page consists of old and new modules. The files
are read once: what a node serves does not change while it runs.
"""

import mimetypes
from hashlib import sha256
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

PAGE = "index.html"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
"""The types of the page's files, which the machine's own table may not know or may call otherwise."""


class Asset(msgspec.Struct, frozen=True):
    """A file: its content, its media type, and its ETag."""

    content: bytes
    media_type: str
    etag: str


class Assets:
    """The files of a folder, by their path in it. `banner` is markup that begins the page's body."""

    def __init__(self, folder: Path, banner: str = "") -> None:
        paths = (path for path in folder.rglob("*") if path.is_file())
        self._assets = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
        if banner:
            page = self._assets[PAGE]
            content = page.content.replace(b"<body>", b"<body>\n    " + banner.encode())
            self._assets[PAGE] = _asset(content, page.media_type)

    def route(self) -> Mount:
        """Return the route of the files."""
        return Mount("/static", routes=[Route("/{name:path}", self.file)])

    async def file(self, request: Request) -> Response:
        """`GET /static/...`: a file of the page."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        return _response(request, asset, {})

    async def page(self, request: Request) -> Response:
        """`GET /`: the web client."""
        return _response(request, self._assets[PAGE], PAGE_HEADERS)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    guessed = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return _asset(content, guessed or "application/octet-stream")


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, media_type, f'"{sha256(content).hexdigest()}"')


def _response(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    headers = {"Cache-Control": "no-cache", "ETag": asset.etag, **headers}
    if _matches(request.headers.get("if-none-match", ""), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def _matches(condition: str, etag: str) -> bool:
    """Return whether `If-None-Match` names an ETag; a proxy that compresses makes it weak (RFC 9110, 13.1.2)."""
    named = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return etag in named or named == ["*"]
