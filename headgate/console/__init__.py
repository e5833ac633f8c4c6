"""What the running gateway shows: health, metrics and status over HTTP."""
