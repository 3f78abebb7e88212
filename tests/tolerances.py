"""The one table of tolerances, with the reason for each."""

# one layer in float32: sums of a few hundred products, different order of addition
LAYER = 1e-5
# a whole network in float32: rounding grows over some fifty layers
FP32 = 1e-4
# an exported file against the live network: the same kernels, or onnxruntime's
EXPORT = 1e-4
# float64 linear algebra on the host
HOST = 1e-10
