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

read_flags "--config|--stage|--formats|--batch|--device" \
  "--dynamic-batch|--fold-norms|--aipp|--dry-run|--" "$@"
config=${given[--config]-} formats=${given[--formats]-} batch=${given[--batch]-}
[[ -n $config ]] || fail "--config is needed; see --help"
[[ -f $config ]] || fail "--config $config: no such file"
[[ -z $formats || $formats =~ ^(mindir|onnx|mindir,onnx|onnx,mindir)$ ]] ||
  fail "--formats: '$formats', expected mindir,onnx or one of them"
[[ -z $batch || $batch =~ ^[1-9][0-9]*$ ]] ||
  fail "--batch: '$batch', expected a whole number from 1"

words=("$config") settings=()
for flag in --stage --device; do
  [[ -z ${given[$flag]-} ]] || words+=("$flag" "${given[$flag]}")
done
[[ -z ${given[--aipp]-} ]] || words+=(--aipp)
[[ -z $formats ]] || settings+=("export.formats=[$formats]")
[[ -z $batch ]] || settings+=("export.batch_size=$batch")
[[ -z ${given[--dynamic-batch]-} ]] || settings+=(export.dynamic_batch=true)
[[ -z ${given[--fold-norms]-} ]] || settings+=(export.fold_norms=true)
settings+=("${rest[@]+"${rest[@]}"}")
program=$(tool ms-eff "$here/../.venv/bin") ||
  fail "ms-eff is not on PATH; 'make demo' or 'pip install -e .' in the repository installs it"

command=("$program" export "${words[@]}" "${settings[@]+"${settings[@]}"}")
quoted "${command[@]}"
[[ -z ${given[--dry-run]-} ]] || exit 0
exec "${command[@]}"
