# shellcheck shell=bash
# Sourced by the scripts of ascend_scripts: which Python has ms_eff's packages.

# find_python FOLDER_OF_THE_SCRIPTS: prints $PYTHON, the project's .venv, or python3.
find_python() {
    local venv="${1%/*}/.venv/bin/python"
    if [[ -n ${PYTHON:-} ]]; then
        printf '%s\n' "$PYTHON"
    elif [[ -x $venv ]]; then
        printf '%s\n' "$venv"
    elif command -v python3 >/dev/null; then
        command -v python3
    else
        echo "no Python here: set PYTHON=/path/to/python3.11, or run make .venv/.ready" >&2
        return 2
    fi
}
