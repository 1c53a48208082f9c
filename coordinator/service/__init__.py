"""Where decisions meet libraries."""
