"""The addresses of this host."""


def own_addresses() -> list[str]:
    """Return the addresses of this host's interfaces; those of a link with their zone."""
    import psutil  # noqa: PLC0415  a tenth of the agent's start, and few hosts ever ask

    return [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]
