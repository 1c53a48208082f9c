"""What the RFCs say of URLs, answers, caching and host names (RFC 9110, RFC 9111, WHATWG URL); nothing of ours."""
