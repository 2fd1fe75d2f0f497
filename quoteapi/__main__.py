"""`python -m quoteapi` is the command `quoteapi`."""

from quoteapi.cli.root import main

if __name__ == "__main__":
    main()
