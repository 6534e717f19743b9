"""Tests of the management node."""
