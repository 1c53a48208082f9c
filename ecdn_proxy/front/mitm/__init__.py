"""What runs inside mitmproxy: the addon that sorts, and the loopback gateway that answers."""
