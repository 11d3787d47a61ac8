"""The sample shop on embedded Postgres."""
