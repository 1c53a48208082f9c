"""What people and browsers touch: the proxy, the gateway, the local page, the command line."""
