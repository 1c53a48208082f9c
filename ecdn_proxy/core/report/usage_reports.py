"""Which part of the usage the coordinator has, and what it is told next: `UsageReports`.

    next(counted)     -> UsageReport, or None while the answer to the last one is awaited
    sent(report)      the report is on its way to the coordinator
    taken()           the coordinator has said that it has it
    no_answer()       no such word will come any more: the socket has ended

A report counts as the coordinator's only when the coordinator has said so (`taken`). So whatever is counted while it is
away is in the first report after that. When a socket ends between a report and its answer, nobody here can know whether
the report arrived; it is told again exactly as it was, under the same number, and the coordinator counts a number that
it has just had from this device once.
"""

from dataclasses import dataclass

from ecdn_proxy.wire.usage import ReportedUsage


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What was counted since the report before this one."""

    sequence: int
    usage: ReportedUsage


class UsageReports:
    """One report at a time, each told until it is taken.

    `first_sequence` must be higher than any number that an earlier run of this agent has used: seconds since 1970 will
    do, as a report is made less than once a second.
    """

    def __init__(self, first_sequence: int) -> None:
        self._sequence = first_sequence
        self._taken = ReportedUsage()
        self._open: UsageReport | None = None
        """Sent, and not yet taken."""
        self._awaited = False
        """Can an answer to it still come?"""

    def next(self, counted: ReportedUsage) -> UsageReport | None:
        """The report that is due when `counted` is all that was counted since the agent was started."""
        if self._awaited:
            return None
        return self._open or UsageReport(self._sequence, counted - self._taken)

    def sent(self, report: UsageReport) -> None:
        """`report` is on its way: it may be taken, and must not change any more."""
        self._open, self._awaited = report, True

    def taken(self) -> None:
        """The coordinator has what was sent last."""
        if self._open is not None and self._awaited:
            self._taken += self._open.usage
            self._sequence += 1
            self._open, self._awaited = None, False

    def no_answer(self) -> None:
        """Whether the report under way was taken will not be known; it is told again."""
        self._awaited = False
