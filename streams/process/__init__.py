"""The streams lane: from readings to results, by the pipeline, with state that outlives it."""
