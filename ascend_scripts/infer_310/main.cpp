// infer_310: a folder of samples through a converted network, on an Ascend 310 or a CPU.

#include <chrono>
#include <filesystem>
#include <iostream>

#include "engine.h"
#include "errors.h"
#include "images.h"
#include "options.h"
#include "report.h"
#include "stop.h"

namespace infer {
namespace {

const std::vector<std::string> kFlags = {"--model", "--input",     "--output",  "--outputs", "--labels",
                                         "--top",   "--device",    "--device-id", "--threads", "--batch",
                                         "--mean",  "--std",       "--warmup",  "--on-bad-file", "--help"};

std::string Help() {
  return "usage: infer_310 --model FILE --input FOLDER [flags]\n\n"
         "Runs every sample of a folder through a network that MindSpore Lite's converter wrote. The CSV\n"
         "has the best classes and their scores by the last axis of the first output (of its last row:\n"
         "for a language model, the next token). Latency and throughput go to standard error.\n\n" +
         HelpOf(kFlags) +
         "\nPictures: " +
         (CanDecode() ? "decoded by OpenCV: shorter side to 256/224 of the input's, middle cut out, RGB."
                      : "not in this build (OpenCV was not found); .npy files only.") +
         "\nExit code: 0, files skipped or not; 2 for a mistake in flags, folder or model, or a bad file\n"
         "with --on-bad-file fail; 130 or 143 if Ctrl-C or SIGTERM stops it; 1 if the runtime fails.\n";
}

struct Tally {
  size_t predicted = 0;
  size_t skipped = 0;
  std::vector<double> seconds;  // of each call after the warm-up
  size_t timed = 0;             // samples in those calls
};

// Samples that go through the network together.
struct Batch {
  std::vector<std::string> files;
  std::vector<char> bytes;
};

class Run {
 public:
  // what can be wrong is looked at before the network is built, which takes longest
  explicit Run(const Options& options)
      : options_(options), found_(FilesOf(options.input)), outputs_(options, found_.files), csv_(options), engine_(options) {
    CheckNormalize(options.normalize, engine_.input());
  }

  void All() {
    const auto size = static_cast<size_t>(engine_.input().shape[0]);
    Batch batch;
    for (const std::string& file : found_.files) {
      ThrowIfStopped();
      Take(file, &batch);
      if (batch.files.size() == size) Flush(&batch);
    }
    Flush(&batch);
    if (tally_.predicted == 0) throw UserError("--input " + options_.input + ": none of its files can be used");
    csv_.Finish();
    Report();
  }

 private:
  void Take(const std::string& file, Batch* batch) {
    try {
      const std::vector<char> sample = ReadSample((std::filesystem::path(options_.input) / file).string(), engine_.input(), options_.normalize);
      batch->bytes.insert(batch->bytes.end(), sample.begin(), sample.end());
      batch->files.push_back(file);
    } catch (const BadFile& error) {
      if (options_.fail_on_bad_file) throw UserError(file + ": " + error.what() + "; mend it, or use --on-bad-file skip");
      std::cerr << "infer_310: skipped " << file << ": " << error.what() << "\n";
      ++tally_.skipped;
    }
  }

  void Flush(Batch* batch) {
    if (batch->files.empty()) return;
    const size_t count = batch->files.size();
    const size_t each = batch->bytes.size() / count;
    const auto size = static_cast<size_t>(engine_.input().shape[0]);
    const std::vector<char> first(batch->bytes.begin(), batch->bytes.begin() + static_cast<std::ptrdiff_t>(each));
    for (size_t i = count; i < size; ++i) {  // a fixed graph takes no smaller batch: its first sample again
      batch->bytes.insert(batch->bytes.end(), first.begin(), first.end());
    }
    for (; warmups_ < options_.warmup; ++warmups_) engine_.Predict(batch->bytes);
    const auto start = std::chrono::steady_clock::now();
    const Output output = engine_.Predict(batch->bytes);
    tally_.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    tally_.timed += count;
    Keep(output, batch->files, size);
    *batch = {};
  }

  void Keep(const Output& output, const std::vector<std::string>& files, size_t size) {
    const auto batch = static_cast<int64_t>(size);
    if (output.shape.empty() || output.values.empty() || output.shape[0] % batch != 0) {
      throw UserError("--model " + options_.model + ": output " + ShapeText(output.shape) + " is not one of " + std::to_string(size) + " samples");
    }
    std::vector<int64_t> shape(output.shape.begin() + 1, output.shape.end());
    const int64_t rows = output.shape[0] / batch;  // more than 1: the batch axis and the next are one
    if (rows > 1) shape.insert(shape.begin(), rows);
    const size_t each = output.values.size() / size;
    const size_t classes = shape.empty() ? 1 : static_cast<size_t>(shape.back());
    for (size_t i = 0; i < files.size(); ++i, ++tally_.predicted) {
      const float* values = output.values.data() + i * each;
      csv_.Add(files[i], values + each - classes, classes);
      outputs_.Add(files[i], shape, values);
    }
  }

  void Report() const {
    double total = 0;
    for (const double second : tally_.seconds) total += second;
    const auto ms = [this](double percent) { return 1e3 * Percentile(tally_.seconds, percent); };
    std::cerr << "files: " << found_.files.size() << ", predicted: " << tally_.predicted << ", skipped: " << tally_.skipped
              << ", neither .npy nor pictures: " << found_.others << "\n"
              << "latency of a batch of " << engine_.input().shape[0] << ", ms: p50 " << ms(50) << ", p90 " << ms(90) << ", p99 " << ms(99) << " ("
              << tally_.seconds.size() << " calls)\n"
              << "throughput: " << static_cast<double>(tally_.timed) / total << " samples/s, without reading files\n";
  }

  Options options_;
  Found found_;
  Outputs outputs_;
  Csv csv_;
  Engine engine_;
  Tally tally_;
  int warmups_ = 0;
};

}  // namespace
}  // namespace infer

int main(int argc, char** argv) {
  return infer::Main(argc, argv, {"infer_310", infer::kFlags, infer::Help(), [](const infer::Options& options) {
    if (options.model.empty() || options.input.empty()) throw infer::UserError("--model and --input are needed; see --help");
    infer::Run(options).All();
    return 0;
  }});
}
