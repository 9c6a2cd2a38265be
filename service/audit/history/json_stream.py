"""A JSON document that is sent while it is being read: what is long in it is its last field, a list.

So a room of any length takes the same memory. The bytes are those of the whole document encoded at once.
"""

from collections.abc import AsyncIterable, AsyncIterator, Sequence

import msgspec

_END = b"]}"


async def json_stream(
    document: msgspec.Struct, rest: AsyncIterable[Sequence[msgspec.Struct]]
) -> AsyncIterator[bytes]:
    """Yield a document whose last field is an empty list, with what `rest` gives in that list; then a newline."""
    encoder = msgspec.json.Encoder()
    yield encoder.encode(document).removesuffix(_END)
    comma = b""
    async for some in rest:
        if some:
            yield comma + b",".join(map(encoder.encode, some))
            comma = b","
    yield _END + b"\n"
