"""Where results go, a folder each, and the contract that they keep."""
