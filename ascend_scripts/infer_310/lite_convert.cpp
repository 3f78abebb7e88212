// lite_convert: ONNX to MindIR by MindSpore Lite's converter library, where the package has no
// converter_lite program (the wheel of 2.0.0).

#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "include/api/status.h"
#include "include/api/types.h"

namespace mindspore {
namespace converter {
// the wheel has no header for it; order of the framework's own enum
enum FmkType : int { kFmkTypeTf = 0, kFmkTypeCaffe = 1, kFmkTypeOnnx = 2 };
}  // namespace converter

class Converter {
 public:
  Converter();
  ~Converter() = default;
  void SetSaveType(ModelType type);
  Status Convert(converter::FmkType type, const std::vector<char>& model, const std::vector<char>& output, const std::vector<char>& weights);

 private:
  // shared_ptr<Data> in the library; room to spare keeps a larger one off the stack's neighbours
  std::shared_ptr<void> data_;
  char spare_[64] = {0};
};
}  // namespace mindspore

namespace {

// The value of --name=value or --name value; empty if it is not there.
std::string Value(const std::vector<std::string>& words, const std::string& name) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].rfind(name + "=", 0) == 0) return words[i].substr(name.size() + 1);
    if (words[i] == name && i + 1 < words.size()) return words[i + 1];
  }
  return "";
}

std::vector<char> Chars(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string source = Value(words, "--modelFile");
  const std::string target = Value(words, "--outputFile");
  if (source.empty() || target.empty()) {
    std::cerr << "usage: lite_convert --modelFile=IN.onnx --outputFile=OUT (OUT.mindir is written)" << std::endl;
    return 2;
  }
  mindspore::Converter converter;
  converter.SetSaveType(mindspore::kMindIR);
  const auto status = converter.Convert(mindspore::converter::kFmkTypeOnnx, Chars(source), Chars(target), {});
  if (status.IsError()) {
    std::cerr << "convert: " << status.ToString() << std::endl;
    return 1;
  }
  return 0;
}
