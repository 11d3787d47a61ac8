"""What the database has: one snapshot, a constant number of queries. Knows nothing of any spec."""
