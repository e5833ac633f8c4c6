"""How well models detect: recorded, labelled data through the gateway's own pipeline, scored."""
