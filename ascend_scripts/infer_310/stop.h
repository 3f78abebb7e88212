// Ctrl-C and SIGTERM as a flag that is read between files, so that nothing half-written is left.
#pragma once

namespace infer {

// From here on the first of these signals only sets the flag; the second ends the program at once.
void CatchSignals();

// Throws Stopped if one has come.
void ThrowIfStopped();

}  // namespace infer
