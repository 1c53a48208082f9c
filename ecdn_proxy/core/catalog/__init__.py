"""A request's URL → which segment of which stream it is, and which viewer may have it."""
