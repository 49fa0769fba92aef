# Sourced by the other scripts: makes or reuses the Python environment that they run in.
#
#   use_environment runtime|dev    sets VENV; after it "$VENV/bin/python" can do the script's job
#
# CASCADE_VENV names the environment (default: .venv beside scripts/). What was installed is noted
# in the environment itself, last of all, so that an installation that was cut short is done again.

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
VENV=${CASCADE_VENV:-$ROOT/.venv}
[[ $VENV == /* ]] || VENV=$PWD/$VENV

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

give_up() {
    say "$@"
    exit 1
}

wants_help() {
    local word
    for word in "$@"; do
        case $word in
        -h | --help) return 0 ;;
        --) return 1 ;;
        esac
    done
    return 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The first Python on PATH that is 3.11 or newer, the plain name before the numbered ones.
find_python() {
    local name version found=""
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        command -v "$name" >/dev/null || continue
        if is_new_enough "$name"; then
            PYTHON=$name
            return
        fi
        version=$("$name" --version 2>/dev/null) || version="none that runs"
        found+="${found:+, }$name is $version"
    done
    give_up "Python 3.11 or newer is needed (${found:-no python3 on PATH}):" \
        "install it, or let CASCADE_VENV name an environment that has it"
}

make_venv() {
    find_python
    say "making the environment $VENV with $("$PYTHON" --version)"
    local log
    if ! log=$("$PYTHON" -m venv "$VENV" 2>&1 </dev/null); then
        case $log in
        *ensurepip* | *"No module named venv"*)
            give_up "$PYTHON cannot make environments: install its venv package" \
                "(Debian, Ubuntu: apt install $("$PYTHON" -c \
                    'import sys; print("python%d.%d-venv" % sys.version_info[:2])')) and run this again"
            ;;
        esac
        printf '%s\n' "$log" >&2
        give_up "$PYTHON -m venv $VENV failed, its reason stands above:" \
            "delete $VENV if another Python left it, and run this again"
    fi
}

fingerprint() {
    { printf '%s\n' "$ROOT"; cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"; } | sha256sum | cut -c 1-64
}

# True if what $1 names (runtime or dev) is installed as pyproject.toml and constraints.txt say now.
is_installed() {
    local noted
    [[ -x $VENV/bin/python && -r $STAMP ]] || return 1
    read -r noted <"$STAMP" || return 1
    [[ $noted == "$WANTED dev" || $noted == "$WANTED $1" ]]
}

use_environment() {
    local extras=$1 target=. lock
    STAMP=$VENV/.cascade-installed
    WANTED=$(fingerprint)
    is_installed "$extras" && return

    if [[ -e $VENV && ! -x $VENV/bin/python && ! -e $VENV/pyvenv.cfg && ! -e $VENV/.cascade-lock ]] &&
        { [[ ! -d $VENV ]] || [[ -n $(ls -A "$VENV") ]]; }; then
        give_up "$VENV is not a Python environment: let CASCADE_VENV name another place"
    fi
    mkdir -p "$VENV" || give_up "cannot make $VENV: let CASCADE_VENV name a place that can be written"
    if command -v flock >/dev/null; then # two scripts at once install one after the other
        exec {lock}>"$VENV/.cascade-lock"
        flock -n "$lock" || { say "waiting for another script to finish installing" && flock "$lock"; }
        if is_installed "$extras"; then
            exec {lock}>&-
            return
        fi
    fi
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    is_new_enough "$VENV/bin/python" ||
        give_up "$VENV has $("$VENV/bin/python" --version 2>&1), Python 3.11 or newer is needed:" \
            "delete it, or let CASCADE_VENV name another"

    [[ $extras == dev ]] && target='.[dev]'
    say "installing cascade and what it needs into $VENV (the first time this takes some minutes)"
    rm -f "$STAMP"
    local quiet=--quiet
    [[ -t 2 ]] && quiet=--progress-bar=on
    (cd "$ROOT" && PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$VENV/bin/python" -m pip install "$quiet" -c constraints.txt -e "$target" </dev/null >&2) ||
        give_up "pip failed, its reason stands above: mend it (network? disk space?) and run this again"
    printf '%s %s\n' "$WANTED" "$extras" >"$STAMP"
    say "the environment is ready"
    [[ -z ${lock:-} ]] || exec {lock}>&-
}
