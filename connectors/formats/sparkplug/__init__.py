"""Sparkplug B, with the gateway as a host application."""
