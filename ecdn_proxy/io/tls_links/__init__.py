"""Links between agents over TLS 1.3 and TCP."""
