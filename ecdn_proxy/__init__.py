"""Enterprise content delivery network: the agent on a viewer machine."""
