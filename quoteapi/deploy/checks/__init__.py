"""The checks of `quoteapi doctor`, of deploys, and of a deployed stage."""
