"""The tests: `beds` starts the real things they run against."""
