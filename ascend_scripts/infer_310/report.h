// Predictions as CSV, latencies as percentiles.
#pragma once

#include <fstream>
#include <string>
#include <vector>

namespace infer {

// Percentile of unsorted values, linear between neighbours; 0 of none.
double Percentile(std::vector<double> values, double percent);

// Indices of the k largest values, largest first; equal ones in their order.
std::vector<size_t> Best(const float* values, size_t count, size_t k);

// Writes rows to a temporary name that becomes `path` on Finish; to standard output if path is empty.
class Csv {
 public:
  // labels: file of class names, or empty. Throws UserError: unreadable or unwritable.
  Csv(std::string path, const std::string& labels, size_t top);
  ~Csv();
  Csv(const Csv&) = delete;
  Csv& operator=(const Csv&) = delete;

  // One sample: its file and the scores of its classes.
  void Add(const std::string& file, const float* scores, size_t classes);
  void Finish();

 private:
  std::string path_;
  std::ofstream file_;
  std::vector<std::string> labels_;
  size_t top_;
  bool started_ = false;
};

}  // namespace infer
