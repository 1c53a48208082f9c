"""Requests and answers towards browsers: cleaned, observed, encoded, written."""
