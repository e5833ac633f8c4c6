"""What happens to a batch: pure stages, a module or a folder each."""
