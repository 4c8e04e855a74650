"""Client certificates in Django, behind a front end that terminates TLS."""
