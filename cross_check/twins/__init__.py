"""Networks in plain torch: nothing here knows MindSpore or ms_eff."""
