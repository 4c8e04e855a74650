"""The implementations that are compared; each turns a chain into a verdict."""
