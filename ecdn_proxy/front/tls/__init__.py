"""Which connections are opened, and the machine's own certificate authority."""
