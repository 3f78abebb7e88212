// NumPy's .npy files, read strictly: whatever is not exactly right is refused with its reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace infer {

enum class Dtype { kFloat16, kFloat32, kUint8, kInt32, kInt64 };

// Bytes that one value takes.
size_t SizeOf(Dtype dtype);

// NumPy's name of the type.
std::string NameOf(Dtype dtype);

// As Python writes it: "(3, 224, 224)", "(10,)", "()".
std::string ShapeText(const std::vector<int64_t>& shape);

// How many values a shape holds; throws BadFile where that is negative or beyond 2^40.
int64_t CountOf(const std::vector<int64_t>& shape);

// Values in C order.
struct Array {
  Dtype dtype = Dtype::kFloat32;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
};

// Reads little-endian float32, int32, int64 and bytes, format versions 1 to 3, C order.
// Throws BadFile: unreadable, another format, another type, shorter or longer than it says.
Array ReadNpy(const std::string& path);

// Writes float32 values as version 1, whole or not at all; throws UserError if the system refuses.
void WriteNpy(const std::string& path, const std::vector<int64_t>& shape, const float* values);

}  // namespace infer
