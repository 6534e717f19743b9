"""Probes on their schedules, and the report that they make."""
