"""Where a certificate comes from: certification paths, trust files and revocation lists."""
