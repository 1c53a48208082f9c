"""Where decisions meet libraries: the only floor that knows both core and io."""
