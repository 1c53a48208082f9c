"""Bytes of a manifest (HLS, DASH, Smooth Streaming) → presentation, renditions, segments."""
