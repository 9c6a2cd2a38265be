"""What users do: decided on what this node knows, placed by the log, delivered, acknowledged."""

from service.chat.read_markers import ReadMarkers
from service.chat.result import CommandResult
from service.chat.submit import Chat
from service.chat.suspensions import AccountSuspensions

__all__ = ["AccountSuspensions", "Chat", "CommandResult", "ReadMarkers"]
