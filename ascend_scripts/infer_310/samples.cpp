#include "samples.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "errors.h"
#include "images.h"

namespace infer {
namespace {

namespace fs = std::filesystem;

constexpr float kHalfLimit = 65520;  // from here on float16 rounds to infinity

// NHWC where the last axis is 1 or 3 and the first is not: what AIPP's RGB888_U8 takes.
bool ChannelsLast(const std::vector<int64_t>& shape) {
  const auto channels = [](int64_t length) { return length == 1 || length == 3; };
  return channels(shape[2]) && !channels(shape[0]);
}

Array Read(const std::string& path, const std::vector<int64_t>& shape) {
  if (!IsPicture(path)) return ReadNpy(path);
  if (shape.size() != 3) throw BadFile("a picture, and the network takes samples of " + ShapeText(shape));
  const bool last = ChannelsLast(shape);
  const int64_t channels = shape[last ? 2 : 0];
  if (channels != 1 && channels != 3) throw BadFile("a picture, and the network takes " + std::to_string(channels) + " channels");
  return ReadPicture(path, shape, last);
}

// The axis of channels: the third from the end (NCHW, and clips T, C, H, W), or the last (NHWC);
// the rank if neither is as long.
size_t ChannelAxis(const std::vector<int64_t>& shape, size_t channels) {
  const size_t rank = shape.size();
  if (rank < 3) return rank;
  for (const size_t axis : {rank - 3, rank - 1}) {
    if (shape[axis] == static_cast<int64_t>(channels)) return axis;
  }
  return rank;
}

// Throws BadFile where values reach a limit, or are NaN.
void CheckBelow(float limit, const std::vector<float>& values, const std::string& what) {
  const auto wrong = std::count_if(values.begin(), values.end(), [limit](float x) { return !(std::abs(x) < limit); });
  if (wrong > 0) throw BadFile(what + ": " + std::to_string(wrong) + " of " + std::to_string(values.size()) + " values");
}

std::vector<float> Floats(const Array& array, const Normalize& normalize) {
  const auto count = static_cast<size_t>(CountOf(array.shape));
  std::vector<float> values(count);
  if (array.dtype == Dtype::kFloat32) {
    std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
    return values;
  }
  const size_t channels = std::max(normalize.mean.size(), normalize.std.size());
  size_t inner = 1;
  for (size_t i = ChannelAxis(array.shape, channels) + 1; i < array.shape.size(); ++i) {
    inner *= static_cast<size_t>(array.shape[i]);
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t channel = channels > 1 ? i / inner % channels : 0;
    const double mean = normalize.mean[normalize.mean.size() > 1 ? channel : 0];
    const double std = normalize.std[normalize.std.size() > 1 ? channel : 0];
    const auto byte = static_cast<unsigned char>(array.bytes[i]);
    values[i] = static_cast<float>((byte / 255.0 - mean) / std);
  }
  return values;
}

}  // namespace

Found FilesOf(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) throw UserError("--input " + folder + ": " + error.message() + "; give a folder that can be read");
  Found found;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    if (error) throw UserError("--input " + folder + ": " + error.message());
    if (entries->is_directory(error)) continue;
    const std::string name = entries->path().filename().string();
    const bool npy = entries->path().extension() == ".npy";
    // reading a pipe would wait for ever; a link that leads nowhere is a bad file
    const bool odd = entries->exists(error) && !entries->is_regular_file(error);
    if (!odd && (npy || IsPicture(name))) {
      found.files.push_back(name);
    } else {
      ++found.others;
    }
  }
  if (found.files.empty()) throw UserError("--input " + folder + ": no .npy file and no picture in it (subfolders are not read)");
  std::sort(found.files.begin(), found.files.end());
  return found;
}

void CheckNormalize(const Normalize& normalize, const Input& input) {
  const size_t channels = std::max(normalize.mean.size(), normalize.std.size());
  const bool given = channels > 1 || normalize.mean[0] != 0 || normalize.std[0] != 1;
  if (given && input.dtype != Dtype::kFloat32 && input.dtype != Dtype::kFloat16) {
    throw UserError("--mean and --std: the network takes " + NameOf(input.dtype) + " as it comes; leave them out");
  }
  const std::vector<int64_t> sample(input.shape.begin() + 1, input.shape.end());
  if (channels > 1 && ChannelAxis(sample, channels) == sample.size()) {
    throw UserError("--mean and --std: for " + std::to_string(channels) + " channels, and the network takes samples of " +
                    ShapeText(sample) + "; give one number, or one a channel");
  }
}

std::vector<char> ReadSample(const std::string& path, const Input& input, const Normalize& normalize) {
  const std::vector<int64_t> wanted(input.shape.begin() + 1, input.shape.end());
  std::vector<int64_t> single = wanted;
  single.insert(single.begin(), 1);
  Array array = Read(path, wanted);
  if (array.shape != wanted && array.shape != single) {
    throw BadFile("shape " + ShapeText(array.shape) + ", the network takes " + ShapeText(wanted));
  }
  array.shape = wanted;
  const bool to_floats = input.dtype == Dtype::kFloat32 || input.dtype == Dtype::kFloat16;
  if (to_floats ? array.dtype != Dtype::kUint8 && array.dtype != Dtype::kFloat32 : array.dtype != input.dtype) {
    throw BadFile("type " + NameOf(array.dtype) + ", the network takes " + NameOf(input.dtype));
  }
  if (!to_floats) return array.bytes;
  const std::vector<float> values = Floats(array, normalize);
  constexpr float infinite = std::numeric_limits<float>::infinity();
  if (array.dtype == Dtype::kFloat32) CheckBelow(infinite, values, "NaN or infinite");
  CheckBelow(input.dtype == Dtype::kFloat16 ? kHalfLimit : infinite, values, "too large for " + NameOf(input.dtype));
  std::vector<char> bytes(values.size() * SizeOf(input.dtype));
  if (input.dtype == Dtype::kFloat32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = ToHalf(values[i]);
    std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

uint16_t ToHalf(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, 4);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // not a number
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and more round to infinity
  // below 2^-14 the steps are 2^-24 wide: the sum puts them into the lowest bits, and rounds
  if (magnitude < 0x38800000) {
    float shifted = 0;
    std::memcpy(&shifted, &magnitude, 4);
    shifted += 0.5F;
    uint32_t steps = 0;
    std::memcpy(&steps, &shifted, 4);
    return static_cast<uint16_t>(sign | (steps - 0x3f000000));
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t fraction = half & 0x3ff;
  float value = 0;
  if (exponent == 0) {  // steps of 2^-24
    value = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 0x1f ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace infer
