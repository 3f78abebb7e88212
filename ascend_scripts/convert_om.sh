#!/usr/bin/env bash
# An exported network to what an Ascend 310 runs: OM by CANN's atc, or MindIR by converter_lite.
set -euo pipefail

here=$(CDPATH="" cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=ascend_scripts/deploy_common.sh
source "$here/deploy_common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/python.sh
source "$here/lib/python.sh"

usage() {
  cat <<'END'
usage: convert_om.sh --model FILE --input-shape SHAPE [flags]

Compiles for an Ascend 310. With atc (CANN) the result is OUTPUT.om; with converter_lite (MindSpore
Lite's package for cloud inference) OUTPUT.mindir, which infer_310 runs. Where neither is found, it
prints the command to run on the board and what to install, and exits with 2. Files get their names
when the tool has written all of them; an earlier OUTPUT stays until then.

  --model FILE          .onnx (atc or converter_lite) or .mindir (converter_lite)
  --input-shape SHAPE   NAME:N,C,H,W, several inputs with ; between: input:1,3,224,224. Compared
                        with the graph where a Python with ms_eff's packages is (PYTHON names one)
  --soc NAME            default Ascend310P3; `npu-smi info` on the board shows it
  --precision MODE      fp16 (default), or mixed: float32 where float16 would lose too much
  --aipp FILE           from export.sh --aipp: the network then takes bytes, (N, H, W, C)
  --dynamic-batch LIST  batch sizes the network takes, 2 to 100 different ones: 1,2,4,8; for
                        networks that were exported with a free batch axis
  --output NAME         without a suffix (default: beside the model, with the SoC in its name)
  --tool NAME           auto (default: atc first), atc or converter_lite
  --dry-run             print what would run and stop; needs no tool
  --help                this

Places looked at besides PATH: ASCEND_HOME, ASCEND_HOME_PATH and ASCEND_TOOLKIT_HOME (and /usr/local/
Ascend) for atc, MINDSPORE_LITE_ROOT for converter_lite.
END
}

read_flags "--model|--input-shape|--soc|--precision|--aipp|--dynamic-batch|--output|--tool" --dry-run "$@"
model=${given[--model]-} shape=${given[--input-shape]-} soc=${given[--soc]-Ascend310P3}
precision=${given[--precision]-fp16} aipp=${given[--aipp]-} profiles=${given[--dynamic-batch]-}
output=${given[--output]-} wanted=${given[--tool]-auto}

# one input: NAME:N,...; a name may hold a slash or a dot
one='[^:;]+:(-1|[1-9][0-9]*)(,[1-9][0-9]*)*'
[[ -n $model && -n $shape ]] || fail "--model and --input-shape are needed; see --help"
[[ -f $model ]] || fail "--model $model: no such file"
[[ $model == *.onnx || $model == *.mindir ]] || fail "--model $model: expected .onnx or .mindir"
[[ $shape =~ ^$one(\;$one)*$ ]] ||
  fail "--input-shape: '$shape', expected NAME:N,C,H,W as in input:1,3,224,224"
[[ $soc =~ ^Ascend[0-9]+[A-Za-z0-9_]*$ ]] || fail "--soc: '$soc', expected a name like Ascend310P3"
[[ $precision == fp16 || $precision == mixed ]] || fail "--precision: '$precision', expected fp16 or mixed"
[[ $wanted =~ ^(auto|atc|converter_lite)$ ]] ||
  fail "--tool: '$wanted', expected auto, atc or converter_lite"
[[ $model == *.onnx || $wanted != atc ]] || fail "--tool atc: it reads no MindIR; export to ONNX"
[[ -z $aipp || -f $aipp ]] || fail "--aipp $aipp: no such file; export.sh --aipp writes it"
if [[ -n $profiles ]]; then
  [[ $profiles =~ ^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){1,99}$ ]] ||
    fail "--dynamic-batch: '$profiles', expected 2 to 100 sizes from 1, as in 1,2,4,8"
  again=$(tr , '\n' <<<"$profiles" | sort | uniq -d | head -n 1)
  [[ -z $again ]] || fail "--dynamic-batch: '$profiles' names $again twice, which atc refuses; name it once"
elif [[ $shape =~ :-1 ]]; then
  fail "--input-shape: a free batch axis (-1) needs --dynamic-batch"
fi
name=$(basename -- "$model")
[[ -n $output ]] || output=$(dirname -- "$model")/${name%.*}_$soc
folder=$(dirname -- "$output")
[[ -d $folder ]] || fail "--output $output: no such folder"
[[ $output != */ && ! -d $output ]] || fail "--output $output: a folder; name a file in it"
[[ $output != *.om && $output != *.mindir ]] || fail "--output $output: leave its suffix out"

inputs=()
IFS=';' read -r -a inputs <<<"$shape"
layout=NCHW # atc's word for pictures; anything else is ND
for input in "${inputs[@]}"; do
  [[ ${input#*:} =~ ^[^,]+(,[^,]+){3}$ ]] || layout=ND
done
[[ -z $aipp || $layout == NCHW ]] || fail "--aipp: pictures only (N,C,H,W), not $shape"
free=$shape
if [[ -n $profiles ]]; then # the batch axis of every input is what varies
  free=""
  for input in "${inputs[@]}"; do
    axes=${input#*:}
    [[ $axes == *,* ]] && axes=-1,${axes#*,} || axes=-1
    free+="${free:+;}${input%%:*}:$axes"
  done
fi

# repeated TEXT SEPARATOR: the text once an input
repeated() {
  local line=$1
  for ((at = 1; at < ${#inputs[@]}; at++)); do line+=$2$1; done
  printf '%s' "$line"
}

# check_shape: --input-shape against the graph's inputs
check_shape() {
  local python said code=0 asked=("--model=$model" "--input-shape=$shape")
  [[ -z $profiles ]] || asked+=(--dynamic-batch)
  python=$(find_python "$here" 2>/dev/null) || python=python3
  said=$(PYTHONSAFEPATH=1 PYTHONPATH="${here%/*}${PYTHONPATH:+:$PYTHONPATH}" \
    "$python" -m ms_eff.deploy.input_shape "${asked[@]}" 2>&1) || code=$?
  said=${said##*$'\n'}
  [[ $code -ne 2 ]] || fail "$said"
  [[ $code -eq 0 ]] ||
    echo "convert_om.sh: --input-shape was not compared with the graph: $python: ${said:-exit code $code}" >&2
}

# atc_words TARGET: the words of atc's command line
atc_words() {
  local profile rows="" mode=force_fp16
  [[ $precision == fp16 ]] || mode=allow_mix_precision
  words=(--framework=5 "--model=$model" "--output=$1" "--soc_version=$soc"
    "--input_format=$layout" "--input_shape=$free" "--precision_mode=$mode")
  [[ -z $aipp ]] || words+=("--insert_op_conf=$aipp")
  [[ -n $profiles ]] || return 0
  if [[ $layout == NCHW ]]; then
    words+=("--dynamic_batch_size=$profiles")
    return 0
  fi
  # atc's batch sizes are for pictures; ND has profiles of all free axes, one an input
  for profile in ${profiles//,/ }; do
    rows+="${rows:+;}$(repeated "$profile" ,)"
  done
  words+=("--dynamic_dims=$rows")
}

# lite_words TARGET: the words of converter_lite's command line, and the file they name
lite_words() {
  local kind=ONNX mode=enforce_fp16
  [[ $model == *.onnx ]] || kind=MINDIR
  words=("--fmk=$kind" --saveType=MINDIR --optimize=ascend_oriented "--modelFile=$model"
    "--outputFile=$1" "--configFile=$1.cfg")
  [[ $precision == fp16 ]] || mode=preferred_optimal
  settings="[ascend_context]"$'\n'"precision_mode=$mode"
  [[ -z $aipp ]] || settings+=$'\n'"insert_op_config_file_path=$aipp"
  if [[ -z $profiles ]]; then
    words+=("--inputShape=$shape")
    return 0
  fi
  # NAME:[-1,C,H,W];..., and [1],[2],... for each input
  settings+=$'\n'"input_shape=$(sed -E 's/:([^;]+)/:[\1]/g' <<<"$free")"
  settings+=$'\n'"dynamic_dims=$(repeated "[${profiles//,/],[}]" ';')"
}

atc=$(tool atc "${ASCEND_HOME:-/usr/local/Ascend}/ascend-toolkit/latest/bin" "${ASCEND_HOME:-/}/bin" \
  "${ASCEND_HOME_PATH:-/}/bin" "${ASCEND_TOOLKIT_HOME:-/}/bin") || atc=""
lite=$(tool converter_lite "${MINDSPORE_LITE_ROOT:-/}/tools/converter/converter") || lite=""
if [[ $wanted == auto ]]; then # what is there; atc where neither is, unless it cannot read the file
  wanted=atc
  [[ $model == *.onnx && (-n $atc || -z $lite) ]] || wanted=converter_lite
fi
words=() settings=""
if [[ $wanted == atc ]]; then
  build=atc_words program=$atc suffix=om
else
  build=lite_words program=$lite suffix=mindir
fi
made=$output.$suffix
[[ ! $made -ef $model ]] || fail "--output $output: $made is the model itself; name another"
$build "$output"
[[ -z $settings || ! $output.cfg -ef $aipp ]] ||
  fail "--output $output: $aipp would be overwritten; name another"
check_shape

show() {
  if [[ -n $settings ]]; then
    printf '%s\n' "cat > $(quoted "$output.cfg") <<'END'" "$settings" END
  fi
  quoted "${program:-$wanted}" "${words[@]}"
}

if [[ -n ${given[--dry-run]-} ]]; then
  show
  exit 0
fi
if [[ -z $program ]]; then
  {
    echo "convert_om.sh: no $wanted here. On the board, or a host with the same CANN, run:"
    show
    echo "To install: driver, firmware and CANN toolkit of the board (then source its set_env.sh: atc" \
      "is on PATH), or besides them MindSpore Lite's package for cloud inference (then set" \
      "MINDSPORE_LITE_ROOT to its folder)."
  } >&2
  exit 2
fi

# stop CODE: the end by a signal; the tool and all that it started end too
stop() {
  if [[ -n $child ]]; then
    kill -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  echo "convert_om.sh: stopped; nothing was written" >&2
  exit "$1"
}

# publish FILE: out of the scratch folder, to its name
publish() {
  local target=$folder/${1##*/}
  [[ ! -d $1 ]] || rm -rf -- "$target" # weights of an earlier conversion
  mv -fT -- "$1" "$target"
}

show # as it would be without the scratch folder
child=""
trap 'stop 130' INT
trap 'stop 143' TERM HUP
work=$(mktemp -d -- "$folder/.convert_om.XXXXXX" 2>/dev/null) ||
  fail "--output $output: its folder cannot be written; choose another"
trap 'rm -rf -- "$work"' EXIT
target=$work/$(basename -- "$output")
$build "$target"
[[ -z $settings ]] || printf '%s\n' "$settings" >"$target.cfg"
set -m # a process group of its own, so that all of it can be ended
"$program" "${words[@]}" </dev/null &
child=$!
set +m
code=0
wait "$child" || code=$?
trap '' INT TERM HUP # what is done gets its names
if [[ $code -ne 0 || ! -s $target.$suffix ]]; then
  echo "convert_om.sh: $wanted did not write $made; see what it says above, and" \
    "'ms-eff doctor --graph $model' for operators that it does not take" >&2
  exit 1
fi
for part in "$work"/*; do
  [[ $part == "$target.$suffix" ]] || publish "$part"
done
publish "$target.$suffix"
echo "$made"
