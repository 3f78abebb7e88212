// What comes out: predictions as CSV, whole outputs as .npy, latencies as percentiles.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "options.h"

namespace infer {

// Percentile of unsorted values, linear between neighbours; 0 of none.
double Percentile(std::vector<double> values, double percent);

// Indices of the k largest values, largest first; equal ones in their order.
std::vector<size_t> Best(const float* values, size_t count, size_t k);

// Rows that get to `--output`, or to standard output, on Finish: all of them or none.
class Csv {
 public:
  // Throws UserError: unreadable labels, an output that cannot be written or is what the run reads.
  explicit Csv(const Options& options);
  ~Csv();
  Csv(const Csv&) = delete;
  Csv& operator=(const Csv&) = delete;

  // One sample: its file and the scores of its classes.
  void Add(const std::string& file, const float* scores, size_t classes);
  void Finish();

 private:
  std::string path_;
  std::ofstream file_;
  std::ostringstream kept_;  // rows for standard output
  bool labelled_;
  std::vector<std::string> labels_;
  size_t top_;
  bool started_ = false;
};

// Samples' whole outputs as .npy files of a folder, each whole or not there; nothing without `--outputs`.
class Outputs {
 public:
  // files: names of the samples. Throws UserError: a folder that cannot be written or is --input,
  // two samples whose outputs would have the same name.
  Outputs(const Options& options, const std::vector<std::string>& files);

  // One sample: its file, shape and values.
  void Add(const std::string& file, const std::vector<int64_t>& shape, const float* values) const;

 private:
  std::string folder_;
};

}  // namespace infer
