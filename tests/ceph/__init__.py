"""Tests of the Ceph side of the agent, against real clusters and against answers captured from one."""
