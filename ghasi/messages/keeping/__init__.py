"""What is kept of messages and for how long: texts, months, receipts that never come."""
