"""What phones send: parts, joined into messages of the account that owns the number."""
