"""What the tests share: servers and hosts that they start, sample pictures, and programs that they run."""
