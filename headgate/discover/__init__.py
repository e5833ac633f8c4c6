"""Recognizing what messages hold, and writing the feeds that read them."""
