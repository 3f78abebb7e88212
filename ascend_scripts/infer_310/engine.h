// A network in MindSpore Lite, on a CPU or an Ascend device.
#pragma once

#include <memory>
#include <vector>

#include "options.h"
#include "samples.h"

namespace infer {

// The first output of a call.
struct Output {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

class Engine {
 public:
  // Builds the network. Throws UserError: no such file, not a network with one input of a known
  // type and fixed shape (or a free batch axis and --batch); std::runtime_error: what Lite says.
  explicit Engine(const Options& options);
  ~Engine();

  // What it takes, the batch axis first.
  const Input& input() const { return input_; }

  // Runs one batch of `input().shape`. Throws std::runtime_error: what Lite says.
  Output Predict(const std::vector<char>& batch);

 private:
  struct Lite;
  std::unique_ptr<Lite> lite_;
  Input input_;
};

}  // namespace infer
