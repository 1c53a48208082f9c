"""One library per file."""
