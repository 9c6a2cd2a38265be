"""Every setting as `onrecord settings` shows it: what it is now, its default and its meaning; secrets are hidden."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service.config.settings import BY_VARIABLE, Settings

if TYPE_CHECKING:
    import dataclasses


def _value(setting: "dataclasses.Field[Any]", value: Any) -> str:
    if value in ("", b"", None, ()):
        return "(not set)"
    if not setting.metadata["secret"]:
        return _plain(value)
    if setting.name.endswith("_url"):
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return "(set)"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default(setting: "dataclasses.Field[Any]") -> str:
    if shown := setting.metadata["shown_default"]:
        return str(shown)
    return "" if setting.default in ("", b"", None, ()) else _plain(setting.default)


def table(settings: Settings) -> str:
    """Every setting in four columns: variable, value (secrets hidden), default, meaning."""
    rows = [("setting", "value", "default", "meaning")]
    for name, setting in BY_VARIABLE.items():
        value = _value(setting, getattr(settings, setting.name))
        rows.append((name, value, _default(setting), setting.metadata["meaning"]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)
