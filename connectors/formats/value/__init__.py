"""One value a message: a number, a text, true or false."""
