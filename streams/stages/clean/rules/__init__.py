"""The cleaning rules, a folder each."""
