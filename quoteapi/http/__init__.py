"""The HTTP layer: the only package that imports Falcon, besides `quoteapi.app`."""
