"""The changes that make a chain wrong or unusual. Each module has one area."""
