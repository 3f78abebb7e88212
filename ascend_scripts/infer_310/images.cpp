#include "images.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <iterator>

#include "errors.h"

#ifdef INFER_WITH_OPENCV
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#endif

namespace infer {

bool IsPicture(const std::string& path) {
  const size_t dot = path.rfind('.');
  std::string end = dot == std::string::npos ? "" : path.substr(dot);
  std::transform(end.begin(), end.end(), end.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::vector<std::string> known = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"};
  return std::find(known.begin(), known.end(), end) != known.end();
}

#ifdef INFER_WITH_OPENCV

namespace {

// Whether a JPEG ends before its picture does: libjpeg only warns, and makes up what is missing.
// Segments that name their length are stepped over, as thumbnails with an end of their own lie there.
bool IsCutJpeg(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto at = [&bytes](size_t place) { return static_cast<unsigned char>(bytes[place]); };
  if (bytes.size() < 2 || at(0) != 0xFF || at(1) != 0xD8) return false;  // no JPEG
  for (size_t place = 2; place + 1 < bytes.size();) {
    const unsigned marker = at(place + 1);
    if (at(place) != 0xFF || marker == 0xFF) {
      ++place;  // data of the picture, or filling
    } else if (marker == 0xD9) {
      return false;
    } else if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
      place += 2;  // these have no length
    } else {
      if (place + 3 >= bytes.size()) return true;
      place += 2 + (at(place + 2) << 8 | at(place + 3));
    }
  }
  return true;
}

cv::Mat Fitted(const cv::Mat& picture, int height, int width) {
  cv::Mat sized;
  if (height != width) {
    cv::resize(picture, sized, cv::Size(width, height), 0, 0, cv::INTER_AREA);
    return sized;
  }
  const double ratio = std::round(height * 256.0 / 224.0) / std::min(picture.rows, picture.cols);
  const cv::Size target(std::max(width, static_cast<int>(picture.cols * ratio)),
                        std::max(height, static_cast<int>(picture.rows * ratio)));
  // INTER_AREA when shrinking: every pixel counts, as in the filters that networks are trained with
  cv::resize(picture, sized, target, 0, 0, ratio < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
  const int left = static_cast<int>(std::nearbyint((sized.cols - width) / 2.0));
  const int top = static_cast<int>(std::nearbyint((sized.rows - height) / 2.0));
  return sized(cv::Rect(left, top, width, height)).clone();
}

}  // namespace

bool CanDecode() { return true; }

Array ReadPicture(const std::string& path, const std::vector<int64_t>& shape, bool channels_last) {
  const int64_t channels = shape[channels_last ? 2 : 0];
  const auto height = static_cast<int>(shape[channels_last ? 0 : 1]);
  const auto width = static_cast<int>(shape[channels_last ? 1 : 2]);
  cv::Mat picture;
  try {
    picture = cv::imread(path, channels == 1 ? cv::IMREAD_GRAYSCALE : cv::IMREAD_COLOR);
    if (picture.empty()) throw BadFile("OpenCV cannot decode it");
    if (IsCutJpeg(path)) throw BadFile("a JPEG that ends too early");
    if (channels == 3) cv::cvtColor(picture, picture, cv::COLOR_BGR2RGB);
    picture = Fitted(picture, height, width);
  } catch (const cv::Exception& error) {
    throw BadFile("OpenCV refuses it: " + error.err);
  }
  Array array;
  array.dtype = Dtype::kUint8;
  array.shape = shape;
  array.bytes.resize(static_cast<size_t>(CountOf(shape)));
  for (int64_t y = 0, at = 0; y < height; ++y) {
    const unsigned char* row = picture.ptr<unsigned char>(static_cast<int>(y));
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c, ++at) {
        array.bytes[channels_last ? at : (c * height + y) * width + x] = static_cast<char>(row[x * channels + c]);
      }
    }
  }
  return array;
}

#else

bool CanDecode() { return false; }

Array ReadPicture(const std::string&, const std::vector<int64_t>&, bool) {
  throw BadFile("a picture, and this program was built without OpenCV; give .npy, or build it with OpenCV");
}

#endif

}  // namespace infer
