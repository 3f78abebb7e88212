// MindSpore Lite 2.0.0 as a command: `convert IN.onnx OUT` and `run MODEL.mindir IN.bin OUT.bin`.
//
// IN.bin holds the inputs one after the other, OUT.bin gets the outputs, both as raw float32.

#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "include/api/context.h"
#include "include/api/model.h"
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
  Status Convert(converter::FmkType type, const std::vector<char>& model,
                 const std::vector<char>& output, const std::vector<char>& weights);

 private:
  // shared_ptr<Data> in the library; room to spare keeps a larger one off the stack's neighbours
  std::shared_ptr<void> data_;
  char spare_[64] = {0};
};
}  // namespace mindspore

namespace {

std::vector<char> Chars(const std::string& text) { return {text.begin(), text.end()}; }

int Fail(const std::string& what, const mindspore::Status& status) {
  std::cerr << what << ": " << status.ToString() << std::endl;
  return 1;
}

int Convert(const std::string& source, const std::string& target) {
  mindspore::Converter converter;
  converter.SetSaveType(mindspore::kMindIR);
  auto status = converter.Convert(mindspore::converter::kFmkTypeOnnx, Chars(source), Chars(target), {});
  return status.IsError() ? Fail("convert", status) : 0;
}

int Run(const std::string& path, const std::string& in, const std::string& out) {
  auto context = std::make_shared<mindspore::Context>();
  context->MutableDeviceInfo().push_back(std::make_shared<mindspore::CPUDeviceInfo>());
  mindspore::Model model;
  auto status = model.Build(path, mindspore::kMindIR, context);
  if (status.IsError()) return Fail("build", status);
  std::ifstream file(in, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto inputs = model.GetInputs();
  size_t at = 0;
  for (auto& input : inputs) {
    if (at + input.DataSize() > bytes.size()) {
      std::cerr << "run: the inputs need more than " << bytes.size() << " bytes" << std::endl;
      return 1;
    }
    std::memcpy(input.MutableData(), bytes.data() + at, input.DataSize());
    at += input.DataSize();
  }
  std::vector<mindspore::MSTensor> outputs;
  status = model.Predict(inputs, &outputs);
  if (status.IsError()) return Fail("predict", status);
  std::ofstream result(out, std::ios::binary);
  for (auto& output : outputs) {
    result.write(static_cast<const char*>(output.MutableData()),
                 static_cast<std::streamsize>(output.DataSize()));
  }
  return result.good() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 3 && words[0] == "convert") return Convert(words[1], words[2]);
  if (words.size() == 4 && words[0] == "run") return Run(words[1], words[2], words[3]);
  std::cerr << "usage: lite_runner convert IN.onnx OUT | run MODEL.mindir IN.bin OUT.bin" << std::endl;
  return 2;
}
