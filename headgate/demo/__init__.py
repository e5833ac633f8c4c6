"""The demo: a whole plant on one machine, and a judge who knows what was broken when."""
