"""What both daemons share: configuration, lifecycle, logging, TLS and the HTTP edge."""
