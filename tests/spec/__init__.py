"""Tests of the spec: no database needed, except where Postgres judges what this package claims about it."""
