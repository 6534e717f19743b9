"""The interactive prompt and the shells' completion."""
