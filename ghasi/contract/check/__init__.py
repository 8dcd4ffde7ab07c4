"""Runs the contract against any deployment: `ghasi contract check`.

Whoever made it, what it promises is asked for over HTTP and nothing else of it is known. A module for each theme has
its promises; `running` goes through them, `report` says what became of each.
"""

from ghasi.contract.check.options import Clock, Options, read_limits, read_upstreams
from ghasi.contract.check.promises import BROKEN, HELD, NOT_CHECKED, CannotCheck, Outcome, Promise
from ghasi.contract.check.report import as_json, as_junit, show, summary
from ghasi.contract.check.running import PROMISES, THEMES, Report, check, choose

__all__ = [
    "BROKEN",
    "HELD",
    "NOT_CHECKED",
    "PROMISES",
    "THEMES",
    "CannotCheck",
    "Clock",
    "Options",
    "Outcome",
    "Promise",
    "Report",
    "as_json",
    "as_junit",
    "check",
    "choose",
    "read_limits",
    "read_upstreams",
    "show",
    "summary",
]
