"""What users do: decided on what this node knows, placed by the log, delivered, acknowledged."""

from service.chat.judging import Judging
from service.chat.markers import Markers
from service.chat.receipts import Receipt
from service.chat.submit import Chat

__all__ = ["Chat", "Judging", "Markers", "Receipt"]
