"""How one segment comes to this machine: lease, origin, parents, timeouts, assembly, viewers, memory."""
