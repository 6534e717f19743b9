"""The steps, in order; a file's name begins with its revision."""
