"""From whom an account may send, and to whom not any more."""
