"""The shipped node under a virtual clock: what an office or a company of offices would see."""
