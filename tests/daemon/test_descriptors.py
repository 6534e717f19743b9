"""A process takes as many open files as it is allowed to."""

import resource

from bs_agent.daemon import descriptors


def test_the_soft_bound_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        assert descriptors.limit() == min(1024, hard)
        assert descriptors.raise_limit() == hard == descriptors.limit()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
