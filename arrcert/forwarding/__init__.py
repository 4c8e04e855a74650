"""How a certificate reaches the app: front ends, encodings, servers and exempt paths."""
