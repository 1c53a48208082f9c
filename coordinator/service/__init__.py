"""Where the decisions of `core` meet the libraries of `io`: the running coordinator without its web server."""
