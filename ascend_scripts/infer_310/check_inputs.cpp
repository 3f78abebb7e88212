// check_inputs: which files of a folder infer_310 would take; needs neither a board nor MindSpore Lite.

#include <filesystem>
#include <iostream>
#include <map>

#include "errors.h"
#include "images.h"
#include "options.h"
#include "stop.h"

namespace infer {
namespace {

const std::vector<std::string> kFlags = {"--input", "--shape", "--dtype", "--mean", "--std", "--on-bad-file", "--help"};

Dtype TypeOf(const std::string& name) {
  for (const Dtype dtype : {Dtype::kFloat16, Dtype::kUint8, Dtype::kInt32, Dtype::kInt64}) {
    if (NameOf(dtype) == name) return dtype;
  }
  return Dtype::kFloat32;
}

int Checked(const Options& options) {
  Input input{"input", TypeOf(options.dtype), options.shape};
  input.shape.insert(input.shape.begin(), 1);
  CheckNormalize(options.normalize, input);
  const Found found = FilesOf(options.input);
  size_t bad = 0;
  for (const std::string& file : found.files) {
    ThrowIfStopped();
    try {
      const auto bytes = ReadSample((std::filesystem::path(options.input) / file).string(), input, options.normalize);
      std::cout << file << ": good, " << bytes.size() << " bytes\n";
    } catch (const BadFile& error) {
      if (options.fail_on_bad_file) throw UserError(file + ": " + error.what());
      std::cout << file << ": BAD, " << error.what() << "\n";
      ++bad;
    }
  }
  std::cout << "files: " << found.files.size() << ", bad: " << bad << ", neither .npy nor pictures: " << found.others << "\n";
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace infer

int main(int argc, char** argv) {
  const std::string help =
      "usage: check_inputs --input FOLDER --shape N,N,N [flags]\n\n"
      "Says of each file whether infer_310 would take it. Exit code 1 if any is bad.\n\n" + infer::HelpOf(infer::kFlags);
  return infer::Main(argc, argv, {"check_inputs", infer::kFlags, help, [](const infer::Options& options) {
    if (options.input.empty() || options.shape.empty()) throw infer::UserError("--input and --shape are needed; see --help");
    return infer::Checked(options);
  }});
}
