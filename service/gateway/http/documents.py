"""The contract documents as YAML, reproducible byte for byte; the CLI, the docs and HTTP serve them."""

from functools import cache
from typing import Any

import yaml

from service.gateway.http import openapi
from service.protocol.commands import PROTOCOL
from service.protocol.contract import asyncapi

MEDIA_TYPE = "application/yaml"  # RFC 9512


class _Dumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


@cache
def asyncapi_yaml() -> str:
    """Return the AsyncAPI document of the real-time endpoints."""
    return _yaml(asyncapi.document(str(PROTOCOL)))


@cache
def openapi_yaml() -> str:
    """Return the OpenAPI document of the HTTP endpoints."""
    return _yaml(openapi.document(str(PROTOCOL)))


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
