"""The HTTP resources: responders parse a request, call one domain function, and set status and media."""
