"""A browser's connection: listened to, opened, answered here, sent straight to its origin or given to mitmproxy."""
