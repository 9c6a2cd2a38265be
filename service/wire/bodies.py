"""What is sent along with a request over HTTP: one JSON object, of a struct that says what it may hold."""

from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.errors import Malformed

MAX_BODY = 16 * 1024

T = TypeVar("T", bound=msgspec.Struct)


async def body(request: Request, kind: type[T]) -> T:
    """Return the object that came with a request.

    Raises:
        HTTPException: it is too long.
        Malformed: it is no JSON, or not of that kind.
    """
    read = b""
    async for piece in request.stream():
        read += piece
        if len(read) > MAX_BODY:
            raise HTTPException(413)
    try:
        return msgspec.json.decode(read, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(problem=str(error).replace("`", "'")) from error
