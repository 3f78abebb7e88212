#!/usr/bin/env bash
# A run's trained model to MindIR and ONNX, verified, with the AIPP file of its data.
set -euo pipefail

here=$(CDPATH="" cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=ascend_scripts/deploy_common.sh
source "$here/deploy_common.sh"

usage() {
  cat <<'END'
usage: export.sh --config FILE [flags] [-- KEY=VALUE...]

Exports the last model of a config's output folder (`ms-eff train` made it) to MindIR and ONNX. Each
file is loaded again and compared with the live model before it gets its name. Runs anywhere.

  --config FILE      the YAML config that the model was trained with
  --stage NAME       which model: dense, decomposed, fine-tuned ... (default: the last one made)
  --formats LIST     mindir,onnx (default), or one of them
  --batch N          batch size of the exported graph (default: the config's, or 1)
  --dynamic-batch    leave the batch axis free: for convert_om.sh --dynamic-batch
  --fold-norms       fold batch normalisations into the layers before them first
  --aipp             also write export/aipp.cfg: the board normalises pictures itself (bytes in)
  --device NAME      auto, ascend or cpu (default: the config's)
  --dry-run          print the command and stop
  --help             this
  -- KEY=VALUE...    any further settings, as output=runs/mine
END
}

config="" stage="" dry=""
words=()
settings=()
while [[ $# -gt 0 ]]; do
  flag=$1
  if [[ $flag == --*=* ]]; then # --flag=value is --flag value
    shift
    set -- "${flag%%=*}" "${flag#*=}" "$@"
    flag=$1
  fi
  case $flag in
    --config)
      needs_value "$@"
      config=$2
      shift
      ;;
    --stage)
      needs_value "$@"
      stage=$2
      shift
      ;;
    --formats)
      needs_value "$@"
      formats=$2
      shift
      [[ $formats =~ ^(mindir|onnx|mindir,onnx|onnx,mindir)$ ]] ||
        fail "--formats: '$formats', expected mindir,onnx or one of them"
      settings+=("export.formats=[$formats]")
      ;;
    --batch)
      needs_value "$@"
      batch=$2
      shift
      [[ $batch =~ ^[1-9][0-9]*$ ]] || fail "--batch: '$batch', expected a whole number from 1"
      settings+=("export.batch_size=$batch")
      ;;
    --dynamic-batch) settings+=(export.dynamic_batch=true) ;;
    --fold-norms) settings+=(export.fold_norms=true) ;;
    --aipp) words+=(--aipp) ;;
    --device)
      needs_value "$@"
      words+=(--device "$2")
      shift
      ;;
    --dry-run) dry=yes ;;
    --help)
      usage
      exit 0
      ;;
    --)
      shift
      settings+=("$@")
      break
      ;;
    *) fail "'$flag': no such flag; see --help" ;;
  esac
  shift
done

[[ -n $config ]] || fail "--config is needed; see --help"
[[ -f $config ]] || fail "--config $config: no such file"
[[ -z $stage ]] || words+=(--stage "$stage")
program=$(tool ms-eff "$here/../.venv/bin") ||
  fail "ms-eff is not on PATH; 'make demo' or 'pip install -e .' in the repository installs it"

command=("$program" export "$config" "${words[@]+"${words[@]}"}" "${settings[@]+"${settings[@]}"}")
quoted "${command[@]}"
[[ -z $dry ]] || exit 0
exec "${command[@]}"
