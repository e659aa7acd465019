# Sourced by the tools: makes or reuses a virtual environment and installs edgekit into it.
# Usage: use_venv FOLDER EXTRAS; afterwards $PYTHON is its interpreter.

find_python() {
    local candidate
    for candidate in "${EDGEKIT_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "edgekit needs Python 3.11, 3.12 or 3.13; none was found." >&2
    echo "  → install one, or name it: EDGEKIT_PYTHON=/path/to/python3.12" >&2
    return 4
}

use_venv() {
    local folder=$1 extras=$2 base stamp
    base=$(find_python) || exit 4
    PYTHON=$folder/bin/python
    if ! "$PYTHON" -c 'import pip' 2>/dev/null; then
        rm -rf "$folder"
        if ! "$base" -m venv "$folder"; then
            echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
            exit 4
        fi
    fi
    # Installed already for this pyproject.toml and these extras? Then this takes no time.
    stamp=$folder/.edgekit-$(printf '%s' "$extras $PWD" | cat - pyproject.toml | cksum | tr ' ' -)
    if [ ! -e "$stamp" ]; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
        touch "$stamp"
    fi
}
