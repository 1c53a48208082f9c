"""From the bytes of a manifest (HLS, DASH, Smooth Streaming) to its presentation, renditions and segments."""
