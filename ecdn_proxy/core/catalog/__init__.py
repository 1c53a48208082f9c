"""From a request's URL to the segment that it asks for, if it is one, and whether this viewer may have it."""
