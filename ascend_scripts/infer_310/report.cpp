#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <numeric>
#include <sstream>

#include "errors.h"

namespace infer {
namespace {

std::string Partial(const std::string& path) { return path + ".partial"; }

// A field of RFC 4180: quoted where it holds what separates.
std::string Field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

std::vector<size_t> Best(const float* values, size_t count, size_t k) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto larger = [values](size_t a, size_t b) {
    if (std::isnan(values[a]) || std::isnan(values[b])) return !std::isnan(values[a]) && std::isnan(values[b]);
    return values[a] > values[b];
  };
  std::stable_sort(order.begin(), order.end(), larger);
  order.resize(std::min(k, count));
  return order;
}

Csv::Csv(std::string path, const std::string& labels, size_t top) : path_(std::move(path)), top_(top) {
  if (!labels.empty()) {
    std::ifstream names(labels);
    if (!names) throw UserError("--labels " + labels + ": cannot be read");
    for (std::string line; std::getline(names, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      labels_.push_back(line);
    }
  }
  if (path_.empty()) return;
  file_.open(Partial(path_));
  if (!file_) throw UserError("--output " + path_ + ": cannot be written; choose a folder that takes it");
}

Csv::~Csv() {
  if (path_.empty()) return;
  file_.close();
  std::remove(Partial(path_).c_str());  // gone already if it was finished
}

void Csv::Add(const std::string& file, const float* scores, size_t classes) {
  if (!labels_.empty() && labels_.size() != classes) {
    throw UserError("--labels: " + std::to_string(labels_.size()) + " names, the network has " +
                    std::to_string(classes) + " classes");
  }
  std::ostringstream line;
  line.precision(std::numeric_limits<float>::max_digits10);
  const std::vector<size_t> best = Best(scores, classes, top_);
  if (!started_) {
    line << "file";
    for (size_t k = 1; k <= best.size(); ++k) line << ",class_" << k << ",score_" << k;
    line << "\n";
    started_ = true;
  }
  line << Field(file);
  for (const size_t at : best) {
    line << "," << (labels_.empty() ? std::to_string(at) : Field(labels_[at])) << "," << scores[at];
  }
  line << "\n";
  (path_.empty() ? std::cout : file_) << line.str();
}

void Csv::Finish() {
  if (path_.empty()) {
    std::cout.flush();
    return;
  }
  file_.close();
  if (!file_ || std::rename(Partial(path_).c_str(), path_.c_str()) != 0) {
    throw UserError("--output " + path_ + ": cannot be written; is the disk full?");
  }
}

}  // namespace infer
