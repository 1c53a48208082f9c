"""What the field reported of real origins and clients, each as a test of the property it broke; see docs/field.md."""
