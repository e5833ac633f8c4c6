"""What sinks that tell people have in common: what is told, of which points, and how often."""
