"""What accepts messages: now, at a time, in batches; what takes them back; and what they would come to."""
