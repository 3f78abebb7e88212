"""One folder a method; `base.py` is the interface, `registry.py` the list."""
