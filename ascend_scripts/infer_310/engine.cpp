#include "engine.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "errors.h"
#include "include/api/context.h"
#include "include/api/model.h"
#include "include/api/status.h"
#include "include/api/types.h"

namespace infer {
namespace {

using MsType = mindspore::DataType;

void Check(const char* what, const mindspore::Status& status) {
  if (status.IsError()) throw std::runtime_error(std::string(what) + ": " + status.ToString());
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

mindspore::ModelType TypeOf(const std::string& path) {
  if (EndsWith(path, ".mindir")) return mindspore::kMindIR;
  if (EndsWith(path, ".ms")) return mindspore::kMindIR_Lite;
  throw UserError("--model " + path + ": expected .mindir or .ms, as the converter writes them");
}

std::shared_ptr<mindspore::Context> ContextOf(const Options& options) {
  auto context = std::make_shared<mindspore::Context>();
  if (options.threads > 0) context->SetThreadNum(options.threads);
  if (options.device == "ascend") {
    auto ascend = std::make_shared<mindspore::AscendDeviceInfo>();
    ascend->SetDeviceID(static_cast<uint32_t>(options.device_id));
    context->MutableDeviceInfo().push_back(ascend);
  } else {
    context->MutableDeviceInfo().push_back(std::make_shared<mindspore::CPUDeviceInfo>());
  }
  return context;
}

Dtype DtypeOf(const mindspore::MSTensor& tensor) {
  switch (tensor.DataType()) {
    case MsType::kNumberTypeFloat32:
      return Dtype::kFloat32;
    case MsType::kNumberTypeFloat16:
      return Dtype::kFloat16;
    case MsType::kNumberTypeUInt8:
      return Dtype::kUint8;
    case MsType::kNumberTypeInt32:
      return Dtype::kInt32;
    case MsType::kNumberTypeInt64:
      return Dtype::kInt64;
    default:
      throw UserError("--model: tensor '" + tensor.Name() + "' is of type number " +
                      std::to_string(static_cast<int>(tensor.DataType())) + ", which this program does not know");
  }
}

template <typename T>
void Widen(const void* from, std::vector<float>* to) {
  const T* values = static_cast<const T*>(from);
  for (size_t i = 0; i < to->size(); ++i) (*to)[i] = static_cast<float>(values[i]);
}

std::vector<float> FloatsOf(mindspore::MSTensor tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.ElementNum()));
  const void* data = tensor.MutableData();  // comes to the host where it is on a device
  if (data == nullptr) throw std::runtime_error("predict: output '" + tensor.Name() + "' has no data");
  switch (DtypeOf(tensor)) {
    case Dtype::kFloat32:
      std::memcpy(values.data(), data, values.size() * 4);
      break;
    case Dtype::kFloat16:
      for (size_t i = 0; i < values.size(); ++i) values[i] = FromHalf(static_cast<const uint16_t*>(data)[i]);
      break;
    case Dtype::kUint8:
      Widen<uint8_t>(data, &values);
      break;
    case Dtype::kInt32:
      Widen<int32_t>(data, &values);
      break;
    case Dtype::kInt64:
      Widen<int64_t>(data, &values);
      break;
  }
  return values;
}

}  // namespace

struct Engine::Lite {
  mindspore::Model model;
  std::vector<mindspore::MSTensor> inputs;
};

Engine::Engine(const Options& options) : lite_(std::make_unique<Lite>()) {
  const mindspore::ModelType type = TypeOf(options.model);
  std::error_code error;
  if (!std::filesystem::is_regular_file(options.model, error) || !std::ifstream(options.model)) throw UserError("--model " + options.model + ": cannot be opened");
  Check("build", lite_->model.Build(options.model, type, ContextOf(options)));
  lite_->inputs = lite_->model.GetInputs();
  if (lite_->inputs.size() != 1) {
    throw UserError("--model " + options.model + ": " + std::to_string(lite_->inputs.size()) +
                    " inputs; this program feeds networks of one");
  }
  input_ = {lite_->inputs[0].Name(), DtypeOf(lite_->inputs[0]), lite_->inputs[0].Shape()};
  if (input_.shape.empty()) throw UserError("--model " + options.model + ": its input has no axes");
  if (options.batch > 0 && options.batch != input_.shape[0]) {
    input_.shape[0] = options.batch;
    const mindspore::Status status = lite_->model.Resize(lite_->inputs, {input_.shape});
    if (status.IsError()) throw UserError("--batch: the network takes no batch of " + std::to_string(options.batch) + ": " + status.ToString());
    lite_->inputs = lite_->model.GetInputs();
  }
  for (const int64_t length : input_.shape) {
    if (length < 1) {
      throw UserError("--model " + options.model + ": its input is " + ShapeText(input_.shape) +
                      "; give --batch for a free batch axis, and convert with all other lengths fixed");
    }
  }
}

Engine::~Engine() = default;

Output Engine::Predict(const std::vector<char>& batch) {
  mindspore::MSTensor& input = lite_->inputs[0];
  if (batch.size() != input.DataSize()) throw std::runtime_error("predict: the batch has another size than the input");
  void* target = input.MutableData();
  if (target == nullptr) throw std::runtime_error("predict: no memory for the input");
  std::memcpy(target, batch.data(), batch.size());
  std::vector<mindspore::MSTensor> outputs;
  Check("predict", lite_->model.Predict(lite_->inputs, &outputs));
  if (outputs.empty()) throw std::runtime_error("predict: the network gave no output");
  return {outputs[0].Shape(), FloatsOf(outputs[0])};
}

}  // namespace infer
