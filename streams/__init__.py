"""The three lanes, a folder each; the stages that readings go through, and their order."""
