"""Compares arrcert's verdict on certification paths with that of other implementations."""
