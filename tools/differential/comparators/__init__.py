"""The implementations that are compared. Each returns a verdict on a chain."""
