"""What the coordinator decides: no clock, socket, disk or log in here."""
