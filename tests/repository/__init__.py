"""The repository held against its own rules: mirror, locks, words, generated pages. Part of `make check`."""
