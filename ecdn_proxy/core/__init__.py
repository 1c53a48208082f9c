"""All decisions of an agent. No clock, socket, dice, disk or log: time and chance are arguments."""
