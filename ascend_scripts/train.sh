#!/usr/bin/env bash
# Train on one card, one host or many hosts: train.sh --help; more in README.md beside this file.
set -euo pipefail
here=$(CDPATH="" cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib/python.sh
. "$here/lib/python.sh"
python=$(find_python "$here")
export MS_EFF_LAUNCHER="$here/train.sh"
export PYTHONPATH="${here%/*}${PYTHONPATH:+:$PYTHONPATH}"
# -P keeps the folder it is called from out of the import path
exec "$python" -P -m ms_eff.launch "$@"
