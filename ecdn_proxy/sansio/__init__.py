"""The kernel of every machine: events in, effects out, time as an argument. Imports nothing of ours."""
