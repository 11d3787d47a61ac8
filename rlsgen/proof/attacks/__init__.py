"""Attacks: what untrusted SQL and forged tokens can try, as data, and how they are run on a live database."""
