"""Counters: how much is counted in each window, and how often the count begins anew."""
