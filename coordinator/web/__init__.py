"""The web server: HTTP for devices, administrators and monitoring, and the WebSockets of agents."""
