"""What people and the coordinator are told: counters, conditions with their remedies."""
