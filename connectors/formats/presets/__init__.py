"""Feeds of products that many have: a file each, which ``preset = "NAME"`` stands for."""
