"""What Ghasi costs and how fast it is: `make bench`. Not part of the tests; see README.md beside this file."""
