"""Where decisions meet libraries: the only floor that knows both core and io. `api.py` is its door for the front."""
