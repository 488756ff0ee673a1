#!/usr/bin/env bash
# Owns the virtual environment of the Autobahn test suite: makes it once in .cache/autobahn, prints its folder.
# Never installs anything elsewhere. Everything but the folder goes to the standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/autobahn
environment=$cache/environment
# A virtual environment holds absolute paths: one that was moved or asked for other versions is made anew.
stamp=$(echo "$environment" && cat "$here/requirements.txt")

main() {
    mkdir -p "$cache"
    # Test runs that start together wait here for the first of them.
    exec 9>"$cache/lock"
    flock 9
    if ! is_current; then
        make >&2
    fi
    echo "$environment"
}

is_current() {
    [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ] && "$environment/bin/python" -c '' 2>/dev/null
}

make() {
    local python27
    python27=$(find_python27) || fail "needs Python 2.7 with zlib and ssl: install Debian's or Ubuntu's python2.7 and" \
        "python2.7-dev, or run 'pyenv install 2.7.18'"
    echo "autobahn: installing for $python27 into ${environment}"
    rm -rf "$cache/stamp" "$environment" "$cache/tools"
    python3 -m venv "$cache/tools" || fail "needs Python 3 with venv: install python3-venv"
    # The last version that makes environments for Python 2.7; it brings their pip with it.
    logged "$cache/tools/bin/python" -m pip install --disable-pip-version-check virtualenv==20.21.1
    logged "$cache/tools/bin/python" -m virtualenv --python "$python27" "$environment"
    logged env PYTHONWARNINGS=ignore "$environment/bin/python" -m pip install --disable-pip-version-check --no-deps \
        --requirement "$here/requirements.txt"
    rm -rf "$cache/tools"
    echo "$stamp" >"$cache/stamp"
}

# Shims of pyenv stand in PATH for versions that are not active, so each one has to prove that it works.
find_python27() {
    local python
    for python in $(type -ap python2.7) "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
        if "$python" -c 'import sys, ssl, zlib; assert sys.version_info[:2] == (2, 7)' 2>/dev/null; then
            "$python" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

logged() {
    "$@" >"$cache/install.log" 2>&1 || {
        tail -n 20 "$cache/install.log"
        fail "'${*:1:6}…' failed (log: $cache/install.log); it needs the package index, a C compiler and the headers of" \
            "Python 2.7 (python2.7-dev)"
    }
}

fail() {
    echo "autobahn: $*" >&2
    exit 1
}

main
