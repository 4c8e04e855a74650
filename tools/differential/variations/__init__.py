"""What can be wrong or odd about a chain, one module for each area."""
