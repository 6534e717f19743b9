"""How both daemons say their metrics: in the best format that whoever scrapes names, without when counters began."""

from collections.abc import Callable

from prometheus_client import disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.registry import Collector

Encode = Callable[[Collector], bytes]


def encoder(accept: str) -> tuple[Encode, str]:
    """Return what writes the metrics of a registry, and the content type; `accept` is the header of the request."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is none
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
