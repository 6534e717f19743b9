"""What a report says beside the columns of its storage, kept for who watches: inodes, and who of the mons is there."""

from typing import NamedTuple

from bs_agent.contract.report import CephReport, StorageReport


class Figures(NamedTuple):
    """The numbers of one storage as one of its hosts has seen them last; None is what was not seen."""

    total_inodes: int | None = None
    available_inodes: int | None = None
    mons: int | None = None
    mons_in_quorum: int | None = None


def figures_of(report: StorageReport) -> Figures:
    """Return the figures of a report."""
    if isinstance(report, CephReport):
        if report.mons.value is None:
            return Figures()
        return Figures(mons=len(report.mons.value), mons_in_quorum=report.mons_in_quorum())
    if report.usage.value is None:
        return Figures()
    return Figures(report.usage.value.totalInodes, report.usage.value.availableInodes)
