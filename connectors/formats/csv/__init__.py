"""Lines of values between commas or other signs."""
