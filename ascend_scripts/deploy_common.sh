#!/usr/bin/env bash
# What export.sh and convert_om.sh share; sourced by them, of no use alone.

# shellcheck disable=SC2034 # those who source this read them
declare -A given=() # flag -> value, as read_flags finds them; `yes` for a switch
rest=()             # what stands behind `--`

# fail WORDS...: a mistake of the user's, in one line; exit 2.
fail() {
  echo "$(basename -- "$0"): $*" >&2
  exit 2
}

# read_flags VALUED SWITCHES WORDS...: a command line into `given` and `rest`. VALUED and SWITCHES are
# flags with | between; a value comes as the next word or behind `=`. --help calls `usage`.
read_flags() {
  local valued=$1 switches=$2 flag value
  shift 2
  while [[ $# -gt 0 ]]; do
    flag=${1%%=*}
    if [[ $1 == --help ]]; then
      usage
      exit 0
    elif [[ $flag =~ ^($valued)$ ]]; then
      value=${1#"$flag"}
      if [[ -n $value ]]; then
        value=${value#=}
      elif [[ $# -gt 1 && $2 != --* ]]; then
        value=$2
        shift
      fi
      [[ -n $value ]] || fail "$flag: a value is missing; see --help"
      given[$flag]=$value
    elif [[ $flag =~ ^($switches)$ ]]; then
      [[ $1 == "$flag" ]] || fail "$flag: it takes no value"
      if [[ $flag == -- ]]; then
        rest=("${@:2}")
        return 0
      fi
      given[$flag]=yes
    else
      fail "'$1': no such flag; see --help"
    fi
    shift
  done
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
