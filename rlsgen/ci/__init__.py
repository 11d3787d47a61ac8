"""CI: a throw-away database, the migrations, the spec, the whole proof, and what a change does to access."""
