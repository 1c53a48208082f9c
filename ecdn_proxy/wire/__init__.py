"""All messages on the network, and the structures in files that hold them. Imports nothing of ours."""
