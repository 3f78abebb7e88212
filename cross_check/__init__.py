"""Torch twins of what ms_eff builds: the same numbers from another library."""
