"""The local page and what stands beside it: metrics, doctor, PAC file."""
