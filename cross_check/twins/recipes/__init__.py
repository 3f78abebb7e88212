"""Training loops in torch, written from the papers; each returns what it did, by quantity."""
