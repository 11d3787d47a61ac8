"""`python -m rlsgen` is `rlsgen`."""

from rlsgen.cli import main

main()
