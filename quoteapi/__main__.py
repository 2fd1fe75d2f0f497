"""The command line as a module: `python -m quoteapi` runs the command `quoteapi`."""

from quoteapi.cli.root import main

if __name__ == "__main__":
    main()
