// What the command line asks for: named flags only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "samples.h"

namespace infer {

struct Options {
  std::string model;
  std::string input;
  std::string output;   // CSV; standard output if empty
  std::string outputs;  // folder of whole outputs; none if empty
  std::string labels;   // file of class names; none if empty
  std::string device = "cpu";
  int device_id = 0;
  int threads = 0;  // 0: what the runtime chooses
  int batch = 0;    // 0: the model's
  int top = 1;
  int warmup = 1;
  bool fail_on_bad_file = false;
  Normalize normalize;
  std::vector<int64_t> shape;  // check_inputs only
  std::string dtype = "float32";
  bool help = false;
};

// Reads the flags named in `allowed`; both --flag value and --flag=value.
// Throws UserError: unknown flag, missing or wrong value, --mean and --std of different lengths.
// infer_flags.py refuses the same things with the same words.
Options ReadOptions(const std::vector<std::string>& words, const std::vector<std::string>& allowed);

// The lines of --help about the flags named.
std::string HelpOf(const std::vector<std::string>& flags);

// A program's frame.
struct Program {
  std::string name;
  std::vector<std::string> flags;
  std::string help;                          // what --help prints
  std::function<int(const Options&)> run;  // returns the exit code
};

// Reads the flags and runs it; what ends it becomes one line and an exit code: 2 a UserError, 130 or
// 143 a signal, 1 any other.
int Main(int argc, char** argv, const Program& program);

}  // namespace infer
