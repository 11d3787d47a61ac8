"""What was declared: `policies.yaml` as values, with positions. Knows nothing of any database."""
