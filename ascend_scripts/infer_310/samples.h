// A folder's files as samples of a network: found, read, checked, in the network's own type.
#pragma once

#include <string>
#include <vector>

#include "npy.h"

namespace infer {

// What a network takes: the batch axis first.
struct Input {
  std::string name;
  Dtype dtype = Dtype::kFloat32;
  std::vector<int64_t> shape;
};

// Normalisation of bytes for a network of floats: (x / 255 - mean) / std, a value a channel or one;
// the two lengths are equal, or one of them is 1.
struct Normalize {
  std::vector<double> mean = {0.0};
  std::vector<double> std = {1.0};
};

struct Found {
  std::vector<std::string> files;  // names, sorted
  size_t others = 0;               // files that are neither .npy nor pictures
};

// Lists a folder, not its subfolders. Throws UserError: not a readable folder, or nothing in it.
Found FilesOf(const std::string& folder);

// Throws UserError if --mean and --std do not go with what the network takes.
void CheckNormalize(const Normalize& normalize, const Input& input);

// Returns one sample's bytes in the network's type; float16 from float32, floats from bytes.
// Throws BadFile: unreadable, of another shape or type, or with values that are not finite in it.
std::vector<char> ReadSample(const std::string& path, const Input& input, const Normalize& normalize);

// Rounds a float to the nearest float16, ties to even.
uint16_t ToHalf(float value);

// Returns the float that a float16 stands for.
float FromHalf(uint16_t half);

}  // namespace infer
