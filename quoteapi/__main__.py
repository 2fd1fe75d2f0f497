"""`python -m quoteapi` is the command `quoteapi`."""

from quoteapi.cli import main

if __name__ == "__main__":
    main()
