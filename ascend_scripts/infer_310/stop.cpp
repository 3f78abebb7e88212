#include "stop.h"

#include <csignal>

#include "errors.h"

namespace infer {
namespace {

volatile std::sig_atomic_t came = 0;

extern "C" void Note(int number) {
  came = number;
  std::signal(number, SIG_DFL);
}

}  // namespace

void CatchSignals() {
  std::signal(SIGINT, Note);
  std::signal(SIGTERM, Note);
}

void ThrowIfStopped() {
  if (came != 0) throw Stopped(came == SIGINT ? "stopped by Ctrl-C" : "stopped by SIGTERM", 128 + came);
}

}  // namespace infer
