"""What is sent along with a request over HTTP: one JSON object, of a struct that says what it may hold.

It is read as strictly as what comes through the doors: `service.protocol.strict_json`.
"""

from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.errors import Malformed
from service.protocol.strict_json import NotJson, check_strings, parse_json, shown

MAX_BODY = 16 * 1024

T = TypeVar("T", bound=msgspec.Struct)


async def body(request: Request, kind: type[T]) -> T:
    """Return the object that came with a request.

    Raises:
        HTTPException: it is too long.
        Malformed: it is no JSON, or not of that kind, or JSON that readers disagree about.
    """
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > MAX_BODY:
            raise HTTPException(413)
    try:
        value = parse_json(read.decode())
        check_strings(value, "$")
        return msgspec.convert(value, kind)
    except (NotJson, UnicodeDecodeError) as error:
        raise Malformed(problem="The body is no JSON text that can be read.") from error
    except msgspec.ValidationError as error:
        raise Malformed(problem=shown(str(error).replace("`", "'"))) from error
