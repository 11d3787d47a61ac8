"""rlsgen: declare who may see which rows; Postgres enforces it; prove it."""

__version__ = "0.1.0"
