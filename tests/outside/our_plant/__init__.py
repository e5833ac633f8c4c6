"""Components of another package than Headgate's."""
