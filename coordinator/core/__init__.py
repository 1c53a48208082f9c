"""Decisions of the coordinator: no clock, socket, disk or log."""
