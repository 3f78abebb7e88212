#!/usr/bin/env bash
# What export.sh and convert_om.sh share; sourced by them, of no use alone.

# fail WORDS...: a mistake of the user's, in one line; exit 2.
fail() {
  echo "$(basename -- "$0"): $*" >&2
  exit 2
}

# needs_value FLAG VALUE...: fail if the command line ends before the flag's value, or it is empty.
needs_value() {
  [[ $# -ge 2 && -n $2 ]] || fail "$1: a value is missing; see --help"
}

# quoted WORDS...: a command line that a shell reads back as it was; `=` and `,` stay bare.
quoted() {
  local word line=""
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      line+="$word "
    else
      line+="'${word//\'/\'\\\'\'}' "
    fi
  done
  printf '%s\n' "${line% }"
}

# tool NAME PLACES...: print the path of a program on PATH or in one of the places; 1 if there is none.
tool() {
  local name=$1 place
  shift
  if command -v -- "$name"; then return 0; fi
  for place in "$@"; do
    if [[ -x $place/$name ]]; then
      printf '%s\n' "$place/$name"
      return 0
    fi
  done
  return 1
}
