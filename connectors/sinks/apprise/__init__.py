"""Notifications by mail, chat and text message, as the library apprise sends them."""
