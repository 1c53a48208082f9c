"""The coordinator: enrols agents, tells them who is near, distributes settings."""
