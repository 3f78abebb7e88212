#include "npy.h"

#include <cctype>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>

#include "errors.h"

namespace infer {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicSize = 6;
constexpr int64_t kMostValues = int64_t{1} << 40;
constexpr size_t kLongestHeader = 1 << 16;

// Walks over the header, a Python dictionary with three known keys.
class Header {
 public:
  explicit Header(std::string text) : text_(std::move(text)) {}

  Array Parse() {
    Expect('{');
    while (!Take('}')) {
      const std::string key = Quoted();
      Expect(':');
      if (seen_[key]++ > 0) throw BadFile("key '" + key + "' stands twice in its header");
      if (key == "descr") {
        array_.dtype = TypeOf(Quoted());
      } else if (key == "fortran_order") {
        if (Word() != "False") throw BadFile("Fortran order; save it with numpy.ascontiguousarray");
      } else if (key == "shape") {
        array_.shape = Tuple();
      } else {
        throw BadFile("unknown key '" + key + "' in its header");
      }
      if (!Take(',')) {
        Expect('}');
        break;
      }
    }
    Skip();
    if (at_ != text_.size() || seen_.size() != 3) throw BadFile("damaged header");
    return array_;
  }

 private:
  void Skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool Take(char wanted) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void Expect(char wanted) {
    if (!Take(wanted)) throw BadFile(std::string("damaged header: no '") + wanted + "' where one belongs");
  }

  std::string Quoted() {
    Expect('\'');
    const size_t end = text_.find('\'', at_);
    if (end == std::string::npos) throw BadFile("damaged header: a quote is not closed");
    const std::string found = text_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }

  std::string Word() {
    Skip();
    const size_t from = at_;
    while (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_]))) ++at_;
    return text_.substr(from, at_ - from);
  }

  std::vector<int64_t> Tuple() {
    std::vector<int64_t> found;
    Expect('(');
    while (!Take(')')) {
      Skip();
      int64_t value = 0;
      const size_t from = at_;
      while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_]))) {
        value = value * 10 + (text_[at_++] - '0');
        if (value > kMostValues) throw BadFile("damaged header: a length beyond 2^40");
      }
      if (at_ == from) throw BadFile("damaged header: no number in its shape");
      found.push_back(value);
      if (!Take(',')) {
        Expect(')');
        break;
      }
    }
    return found;
  }

  static Dtype TypeOf(const std::string& descr) {
    static const std::map<std::string, Dtype> known = {{"<f4", Dtype::kFloat32},
                                                       {"|u1", Dtype::kUint8},
                                                       {"<i4", Dtype::kInt32},
                                                       {"<i8", Dtype::kInt64}};
    const auto found = known.find(descr);
    if (found == known.end()) {
      throw BadFile("type '" + descr + "'; save it as float32, uint8, int32 or int64");
    }
    return found->second;
  }

  std::string text_;
  size_t at_ = 0;
  Array array_;
  std::map<std::string, int> seen_;
};

void ReadExactly(std::ifstream& file, char* target, size_t count, const char* what) {
  file.read(target, static_cast<std::streamsize>(count));
  if (static_cast<size_t>(file.gcount()) != count) throw BadFile(std::string("ends inside its ") + what);
}

std::string HeaderText(std::ifstream& file) {
  char start[kMagicSize + 2];
  ReadExactly(file, start, sizeof(start), "magic number");
  if (std::memcmp(start, kMagic, kMagicSize) != 0) throw BadFile("not a .npy file");
  const int major = static_cast<unsigned char>(start[kMagicSize]);
  if (major < 1 || major > 3) throw BadFile("format version " + std::to_string(major) + "; 1 to 3 are known");
  unsigned char length[4] = {0, 0, 0, 0};
  ReadExactly(file, reinterpret_cast<char*>(length), major == 1 ? 2 : 4, "header");
  const size_t size = length[0] | length[1] << 8 | length[2] << 16 | static_cast<size_t>(length[3]) << 24;
  if (size > kLongestHeader) throw BadFile("damaged header: " + std::to_string(size) + " bytes long");
  std::string text(size, ' ');
  ReadExactly(file, text.data(), size, "header");
  return text;
}

}  // namespace

size_t SizeOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kUint8:
      return 1;
    case Dtype::kFloat16:
      return 2;
    case Dtype::kInt64:
      return 8;
    default:
      return 4;
  }
}

std::string NameOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kUint8:
      return "uint8";
    case Dtype::kFloat16:
      return "float16";
    case Dtype::kInt32:
      return "int32";
    case Dtype::kInt64:
      return "int64";
    default:
      return "float32";
  }
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

int64_t CountOf(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t length : shape) {
    if (length < 0 || (length > 0 && count > kMostValues / length)) throw BadFile("shape " + ShapeText(shape));
    count *= length;
  }
  return count;
}

Array ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw BadFile("cannot be opened");
  Array array = Header(HeaderText(file)).Parse();
  const size_t wanted = static_cast<size_t>(CountOf(array.shape)) * SizeOf(array.dtype);
  const auto from = file.tellg();
  file.seekg(0, std::ios::end);
  const auto found = static_cast<size_t>(file.tellg() - from);
  if (found != wanted) {  // seen before memory is taken for it
    throw BadFile(std::to_string(found) + " bytes of values, " + std::to_string(wanted) + " by its header");
  }
  file.seekg(from);
  array.bytes.resize(wanted);
  ReadExactly(file, array.bytes.data(), wanted, "values");
  return array;
}

void WriteNpy(const std::string& path, const std::vector<int64_t>& shape, const float* values) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': " + ShapeText(shape) + ", }";
  const size_t before = kMagicSize + 4;
  text.append(63 - (before + text.size()) % 64, ' ');  // values start at a multiple of 64
  text += '\n';
  const std::string partial = path + ".partial";
  std::ofstream file(partial, std::ios::binary);
  file.write(kMagic, kMagicSize);
  const char version_and_length[4] = {1, 0, static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  file.write(version_and_length, 4);
  file << text;
  file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(CountOf(shape) * 4));
  file.close();
  if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
    std::remove(partial.c_str());
    throw UserError("--outputs: cannot write " + path + "; choose a folder that takes it");
  }
}

}  // namespace infer
