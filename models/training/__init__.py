"""Turning recorded data into model packages. Needs the extra ``train``; never runs on a gateway."""
