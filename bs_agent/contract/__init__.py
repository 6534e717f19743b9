"""What crosses the network: both programs and all clients import it; no I/O happens here."""
