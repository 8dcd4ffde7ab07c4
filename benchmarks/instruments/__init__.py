"""The processes that run beside what is measured: loads, ceilings, an SMSC and a receiver that cost next to nothing."""
