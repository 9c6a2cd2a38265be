"""Commands of users: decided on what this node knows, appended to the log, and acknowledged after the commit."""

from service.chat.blocks import AccountBlocks
from service.chat.display_names import DisplayNames
from service.chat.log_budget import BudgetedAppender, LogBudget
from service.chat.read_markers import ReadMarkers
from service.chat.reports import Reports
from service.chat.result import CommandResult
from service.chat.submit import Chat
from service.chat.suspensions import AccountSuspensions

__all__ = [
    "AccountBlocks",
    "AccountSuspensions",
    "BudgetedAppender",
    "Chat",
    "CommandResult",
    "DisplayNames",
    "LogBudget",
    "ReadMarkers",
    "Reports",
]
