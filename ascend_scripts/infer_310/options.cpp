#include "options.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <sstream>

#include "errors.h"

namespace infer {
namespace {

struct Flag {
  std::string value;  // what --help calls it; a flag without one is a switch
  std::string help;
  std::function<void(Options&, const std::string&)> set;
};

[[noreturn]] void Wrong(const std::string& text, const std::string& wanted) {
  throw UserError("'" + text + "', expected " + wanted);
}

int64_t Whole(const std::string& text, int64_t least) {
  size_t used = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size() || value < least || value > 1000000) {
    Wrong(text, "a whole number from " + std::to_string(least));
  }
  return value;
}

std::vector<std::string> Parts(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

std::vector<double> Numbers(const std::string& text, bool above_zero) {
  std::vector<double> values;
  for (const std::string& part : Parts(text)) {
    size_t used = 0;
    try {
      values.push_back(std::stod(part, &used));
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || used != part.size()) Wrong(text, "numbers such as 0.485,0.456,0.406");
    if (above_zero && !(values.back() > 0)) Wrong(text, "numbers above 0");
  }
  if (values.empty()) Wrong(text, "one number, or one a channel");
  return values;
}

std::string OneOf(const std::string& text, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), text) != known.end()) return text;
  std::string all;
  for (const std::string& name : known) all += (all.empty() ? "" : " or ") + name;
  Wrong(text, all);
}

const std::map<std::string, Flag>& Flags() {
  using O = Options;
  using S = const std::string&;
  static const std::map<std::string, Flag> flags = {
      {"--model", {"FILE", "converted network, .mindir or .ms", [](O& o, S v) { o.model = v; }}},
      {"--input", {"FOLDER", "its .npy files (float32, uint8, int32, int64; one sample each) and pictures", [](O& o, S v) { o.input = v; }}},
      {"--output", {"FILE", "predictions as CSV (default: standard output)", [](O& o, S v) { o.output = v; }}},
      {"--outputs", {"FOLDER", "also every sample's whole first output, as .npy", [](O& o, S v) { o.outputs = v; }}},
      {"--labels", {"FILE", "class names, a line each, for the CSV", [](O& o, S v) { o.labels = v; }}},
      {"--device", {"NAME", "cpu (default) or ascend", [](O& o, S v) { o.device = OneOf(v, {"cpu", "ascend"}); }}},
      {"--device-id", {"N", "which Ascend device (default 0)", [](O& o, S v) { o.device_id = static_cast<int>(Whole(v, 0)); }}},
      {"--threads", {"N", "CPU threads (default: the runtime's choice)", [](O& o, S v) { o.threads = static_cast<int>(Whole(v, 1)); }}},
      {"--batch", {"N", "samples a call, for networks with a free batch axis", [](O& o, S v) { o.batch = static_cast<int>(Whole(v, 1)); }}},
      {"--top", {"K", "best classes a sample (default 1)", [](O& o, S v) { o.top = static_cast<int>(Whole(v, 1)); }}},
      {"--warmup", {"N", "calls before latency is measured (default 1)", [](O& o, S v) { o.warmup = static_cast<int>(Whole(v, 0)); }}},
      {"--on-bad-file", {"skip|fail", "leave out files that cannot be used (default), or stop", [](O& o, S v) { o.fail_on_bad_file = OneOf(v, {"skip", "fail"}) == "fail"; }}},
      {"--mean", {"M[,M,M]", "bytes for a float network: (x / 255 - mean) / std (default 0)", [](O& o, S v) { o.normalize.mean = Numbers(v, false); }}},
      {"--std", {"S[,S,S]", "likewise (default 1)", [](O& o, S v) { o.normalize.std = Numbers(v, true); }}},
      {"--shape", {"N,N,N", "of one sample, as 3,224,224", [](O& o, S v) { for (const auto& part : Parts(v)) o.shape.push_back(Whole(part, 1)); }}},
      {"--dtype", {"NAME", "of the network: float32 (default), float16, uint8, int32, int64", [](O& o, S v) { o.dtype = OneOf(v, {"float32", "float16", "uint8", "int32", "int64"}); }}},
      {"--help", {"", "show this", [](O& o, S) { o.help = true; }}},
  };
  return flags;
}

}  // namespace

Options ReadOptions(const std::vector<std::string>& words, const std::vector<std::string>& allowed) {
  Options options;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string name = words[i].substr(0, equals);
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      throw UserError("'" + words[i] + "': no such flag; see --help");
    }
    const Flag& flag = Flags().at(name);
    std::string value;
    if (equals != std::string::npos) {
      value = words[i].substr(equals + 1);
    } else if (!flag.value.empty()) {
      if (++i == words.size()) throw UserError(name + ": a value is missing (" + flag.value + ")");
      value = words[i];
    }
    if (!flag.value.empty() && value.empty()) throw UserError(name + ": an empty value");
    try {
      flag.set(options, value);
    } catch (const UserError& error) {
      throw UserError(name + ": " + error.what());
    }
  }
  return options;
}

std::string HelpOf(const std::vector<std::string>& flags) {
  std::string text;
  for (const std::string& name : flags) {
    const Flag& flag = Flags().at(name);
    std::string left = "  " + name + (flag.value.empty() ? "" : " " + flag.value);
    left.resize(std::max<size_t>(left.size() + 2, 26), ' ');
    text += left + flag.help + "\n";
  }
  return text;
}

int Main(int argc, char** argv, const Program& program) {
  try {
    const Options options = ReadOptions({argv + 1, argv + argc}, program.flags);
    if (options.help) {
      std::cout << program.help;
      return 0;
    }
    return program.run(options);
  } catch (const UserError& error) {
    std::cerr << program.name << ": " << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << program.name << ": " << error.what() << std::endl;
    return 1;
  }
}

}  // namespace infer
