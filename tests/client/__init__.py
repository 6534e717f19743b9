"""The SDK and the command line, against a server that speaks the protocol and can be told to fail."""
