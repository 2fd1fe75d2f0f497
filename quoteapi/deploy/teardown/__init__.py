"""`quoteapi teardown`: what is left of a stage in AWS after `zappa undeploy`, what it costs, and its deletion."""
