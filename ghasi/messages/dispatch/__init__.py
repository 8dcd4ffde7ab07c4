"""What brings messages to carriers and carriers' words back: claims, hand-over, results, receipts."""
