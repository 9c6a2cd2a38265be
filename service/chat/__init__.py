"""What users do: decided on what this node knows, placed by the log, delivered, acknowledged."""

from service.chat.judging import Judging
from service.chat.markers import Markers
from service.chat.submit import Chat, Receipt

__all__ = ["Chat", "Judging", "Markers", "Receipt"]
