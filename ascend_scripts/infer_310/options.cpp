#include "options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>

#include "errors.h"
#include "stop.h"

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

constexpr int64_t kMost = 1000000;
constexpr char kDigits[] = "0123456789";

int64_t Whole(const std::string& text, int64_t least) {
  const bool digits = !text.empty() && text.size() < 8 && text.find_first_not_of(kDigits) == std::string::npos;
  const int64_t value = digits ? std::stoll(text) : -1;
  if (value < least || value > kMost) {
    Wrong(text, "a whole number from " + std::to_string(least) + " to " + std::to_string(kMost));
  }
  return value;
}

std::vector<std::string> Parts(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// Digits with a sign, a point and an exponent at most: no blanks, hexadecimals, `nan` or `inf`.
bool IsDecimal(const std::string& text) {
  size_t at = 0;
  const auto sign = [&] { at += at < text.size() && (text[at] == '+' || text[at] == '-'); };
  const auto digits = [&] {
    const size_t from = at;
    at = std::min(text.find_first_not_of(kDigits, at), text.size());
    return at > from;
  };
  sign();
  bool found = digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    found = digits() || found;
  }
  if (found && at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    sign();
    found = digits();
  }
  return found && at == text.size();
}

std::vector<double> Numbers(const std::string& text, bool above_zero) {
  std::vector<double> values;
  for (const std::string& part : Parts(text)) {
    values.push_back(IsDecimal(part) ? std::strtod(part.c_str(), nullptr) : NAN);
    if (!std::isfinite(values.back())) Wrong(text, "numbers such as 0.485,0.456,0.406");
    if (above_zero && !(values.back() > 0)) Wrong(text, "numbers above 0");
  }
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

// The value of the flag at words[*i], there after `=` or in the next word; empty for a switch.
std::string ValueOf(const std::vector<std::string>& words, size_t* i, const std::string& name, const std::string& wanted) {
  const bool given = words[*i].size() > name.size();
  if (wanted.empty()) {
    if (given) throw UserError(name + ": it takes no value");
    return "";
  }
  if (given) {
    if (words[*i].size() == name.size() + 1) throw UserError(name + ": an empty value");
    return words[*i].substr(name.size() + 1);
  }
  if (*i + 1 == words.size() || words[*i + 1].rfind("--", 0) == 0) {
    throw UserError(name + ": a value is missing (" + wanted + ")");
  }
  const std::string value = words[++*i];
  if (value.empty()) throw UserError(name + ": an empty value");
  return value;
}

}  // namespace

Options ReadOptions(const std::vector<std::string>& words, const std::vector<std::string>& allowed) {
  Options options;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string name = words[i].substr(0, words[i].find('='));
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      throw UserError("'" + name + "': no such flag; see --help");
    }
    const Flag& flag = Flags().at(name);
    const std::string value = ValueOf(words, &i, name, flag.value);
    try {
      flag.set(options, value);
    } catch (const UserError& error) {
      throw UserError(name + ": " + error.what());
    }
  }
  const size_t means = options.normalize.mean.size();
  const size_t stds = options.normalize.std.size();
  if (means != stds && means > 1 && stds > 1) {
    throw UserError("--mean and --std: " + std::to_string(means) + " and " + std::to_string(stds) +
                    " numbers; give each one number, or one a channel");
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
  const auto failed = [&program](std::string what, int code) {
    std::replace(what.begin(), what.end(), '\n', ' ');  // what Lite says has several lines
    std::cerr << program.name << ": " << what << std::endl;
    return code;
  };
  CatchSignals();
  try {
    const Options options = ReadOptions({argv + 1, argv + argc}, program.flags);
    if (options.help) {
      std::cout << program.help;
      return 0;
    }
    return program.run(options);
  } catch (const UserError& error) {
    return failed(error.what(), 2);
  } catch (const Stopped& stop) {
    return failed(stop.what(), stop.code);
  } catch (const std::exception& error) {
    return failed(error.what(), 1);
  }
}

}  // namespace infer
