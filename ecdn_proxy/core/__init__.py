"""Decisions: no clock, socket, dice, disk or log."""
