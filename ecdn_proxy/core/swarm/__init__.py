"""Who watches the same stream, whose ledger a key is in, and who reads a segment from whom."""
