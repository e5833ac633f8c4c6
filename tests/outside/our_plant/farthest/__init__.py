"""A kind of model that looks at the channel that is farthest from its mean."""
