"""Checks who issued a certificate: certification paths, trust files and revocation lists."""
