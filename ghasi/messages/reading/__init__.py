"""What shows messages: one, a list, a file."""
