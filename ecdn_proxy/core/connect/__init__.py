"""Which links this machine opens, and how a link moves from one connection to another."""
