#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>

#include "errors.h"
#include "npy.h"

namespace infer {
namespace {

namespace fs = std::filesystem;

bool IsSame(const std::string& one, const std::string& other) {
  std::error_code error;  // where either is not there
  return fs::equivalent(one, other, error);
}

bool IsFolder(const std::string& path) {
  std::error_code error;  // where it cannot be looked at
  return fs::is_directory(path, error);
}

// The name of a sample's whole output.
std::string NpyName(const std::string& file) { return fs::path(file).extension() == ".npy" ? file : file + ".npy"; }

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

Csv::Csv(const Options& options)
    : path_(options.output), labelled_(!options.labels.empty()), top_(static_cast<size_t>(options.top)) {
  if (labelled_) {
    std::ifstream names(options.labels);
    if (!names || IsFolder(options.labels)) throw UserError("--labels " + options.labels + ": cannot be read");
    for (std::string line; std::getline(names, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      labels_.push_back(line);
    }
  }
  if (path_.empty()) return;
  for (const auto& [flag, other] : std::map<std::string, std::string>{{"--labels", options.labels}, {"--model", options.model}}) {
    if (IsSame(path_, other)) throw UserError("--output " + path_ + ": that is the file of " + flag + "; name another");
  }
  if (IsFolder(path_)) throw UserError("--output " + path_ + ": a folder; name a file in it");
  file_.open(Partial(path_));
  if (!file_) throw UserError("--output " + path_ + ": cannot be written; choose a folder that takes it");
}

Csv::~Csv() {
  if (path_.empty()) return;
  file_.close();
  std::remove(Partial(path_).c_str());  // gone already if it was finished
}

void Csv::Add(const std::string& file, const float* scores, size_t classes) {
  if (labelled_ && labels_.size() != classes) {
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
    line << "," << (labelled_ ? Field(labels_[at]) : std::to_string(at)) << "," << scores[at];
  }
  line << "\n";
  (path_.empty() ? static_cast<std::ostream&>(kept_) : file_) << line.str();
}

void Csv::Finish() {
  if (path_.empty()) {
    std::cout << kept_.str() << std::flush;
    if (!std::cout) throw UserError("standard output: cannot be written; is the disk full?");
    return;
  }
  file_.close();
  if (!file_ || std::rename(Partial(path_).c_str(), path_.c_str()) != 0) {
    throw UserError("--output " + path_ + ": cannot be written; is the disk full?");
  }
}

Outputs::Outputs(const Options& options, const std::vector<std::string>& files) : folder_(options.outputs) {
  if (folder_.empty()) return;
  if (IsSame(folder_, options.input)) throw UserError("--outputs " + folder_ + ": that is the folder of --input; name another");
  std::map<std::string, std::string> names;
  for (const std::string& file : files) {
    const auto [there, fresh] = names.emplace(NpyName(file), file);
    if (!fresh) {
      throw UserError("--outputs: " + there->second + " and " + file + " would both become " + there->first + "; rename one");
    }
  }
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error || ::access(folder_.c_str(), W_OK | X_OK) != 0) {
    throw UserError("--outputs " + folder_ + ": cannot be written; choose a folder that takes it");
  }
}

void Outputs::Add(const std::string& file, const std::vector<int64_t>& shape, const float* values) const {
  if (!folder_.empty()) WriteNpy((fs::path(folder_) / NpyName(file)).string(), shape, values);
}

}  // namespace infer
