"""Breaking the real gateway: what must hold, and the rig that shows whether it does."""
