"""Messages on the network and in files: imports nothing of ours."""
