"""URLs, answers, caching and host names, as the standards say: RFC 9110, RFC 9111, WHATWG URL. Nothing of ours."""
