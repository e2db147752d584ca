"""`python -m server`: the same as `modelpress-server`."""

from server.cli import main

main()
