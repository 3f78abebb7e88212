// The two ways to fail: what the user can mend (exit code 2) and what one file is to blame for.
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

}  // namespace infer
