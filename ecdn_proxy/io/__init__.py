"""One library per file; knows words, never decisions."""
