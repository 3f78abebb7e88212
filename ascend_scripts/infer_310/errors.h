// The ways to end early: what the user can mend (exit code 2), what one file is to blame for, a signal.
#pragma once

#include <stdexcept>
#include <string>

namespace infer {

// A mistake in flags, folders or the model's shape; the message names it and its remedy.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One input file that cannot be used; the message is the reason, without the file's name.
class BadFile : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Ctrl-C or SIGTERM; `code` is the program's exit code: 130 or 143.
class Stopped : public std::runtime_error {
 public:
  Stopped(const std::string& what, int exit_code) : std::runtime_error(what), code(exit_code) {}
  const int code;
};

}  // namespace infer
