"""Measurements that take long or ask one question in depth, each with a command of its own."""
