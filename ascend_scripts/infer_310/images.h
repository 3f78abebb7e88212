// Pictures as networks take them: decoded by OpenCV where CMake found it, else refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "npy.h"

namespace infer {

// Whether this build decodes pictures.
bool CanDecode();

// Whether a file's name ends like a picture's.
bool IsPicture(const std::string& path);

// Decodes to bytes of the wanted size: the shorter side at 256/224 of the square's, then its middle;
// a target that is not square takes the whole picture, stretched.
// shape is (C, H, W), or (H, W, C) with channels_last; C is 3 (RGB) or 1 (grey).
// Throws BadFile: not decodable.
Array ReadPicture(const std::string& path, const std::vector<int64_t>& shape, bool channels_last);

}  // namespace infer
