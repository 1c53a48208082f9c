"""What every state machine is built on, and its driver on an event loop. Imports nothing of ours."""
