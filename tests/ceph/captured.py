"""Reads the captured answers the way the agent reads live ones."""

from pathlib import Path
from typing import TypeVar

from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.ceph_answers import PoolAnswers, Question

T = TypeVar("T")

FOLDER = Path(__file__).parent / "captures"
RELEASES = sorted(folder.name for folder in FOLDER.iterdir() if (folder / "healthy").is_dir())


def answer(release: str, state: str, name: str, question: Question[T]) -> T:
    """Return one captured answer."""
    return question.read((FOLDER / release / state / f"{name}.json").read_text())


def pool_answers(release: str, state: str) -> PoolAnswers:
    """Return what tells of the pools; without a mgr nobody answers `osd df`, so the last one stands in."""
    return PoolAnswers(
        df=answer(release, state, "df", ceph_answers.DF),
        osd_dump=answer(release, state, "osd_dump", ceph_answers.OSD_DUMP),
        rules=answer(release, state, "crush_rules", ceph_answers.CRUSH_RULES),
        tree=answer(release, state, "osd_tree", ceph_answers.OSD_TREE),
        osd_df=answer(release, "healthy", "osd_df", ceph_answers.OSD_DF),
    )
