"""From the one to the other: desired state, diff, plan, apply, destroy, keys."""
