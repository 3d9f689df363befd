#!/bin/sh
# setup.sh [GROUP...]: make .venv and install lbkit in it, with the named dependency groups.
#
# Called by every make target. It does nothing, in a few milliseconds, when that is done already.
# Needs no root and changes nothing outside .venv. $PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")"

say() { printf 'lbkit: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

needed_mb=500
stamp=.venv/.installed
want="$(cksum <pyproject.toml) $(cksum <setup.sh) $*"

# Programs in .venv hold its path, so that a clone that was moved or copied needs a new one.
moved() { [ -f .venv/.place ] && [ "$(cat .venv/.place)" != "$(pwd -P)" ]; }

# A stamp of more groups than asked for is fine: `make up` after `make test` has nothing to do.
covered() {
    [ -f "$stamp" ] && ! moved && .venv/bin/python -c '' 2>/dev/null || return 1
    have=$(cat "$stamp")
    case "$have" in "$(cksum <pyproject.toml) $(cksum <setup.sh)"*) ;; *) return 1 ;; esac
    for group in "$@"; do
        case " $have " in *" $group "*) ;; *) return 1 ;; esac
    done
}
covered "$@" && exit 0
# Groups installed earlier stay on the stamp, so that targets do not undo one another's work.
for group in test lint bench fuzz; do covered "$group" && case " $want " in *" $group "*) ;; *) want="$want $group" ;; esac; done

find_python() {
    for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11; do
        command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
            { printf '%s\n' "$candidate"; return; }
    done
    die "Python 3.11 or later is needed. Debian 12, Ubuntu 24.04 and later: apt-get install python3 python3-venv; Fedora: dnf install python3; macOS: brew install python"
}

# Debian splits pip's installer off into python3-venv. Where that is missing, pip alone is taken from
# the distribution's package of it, unpacked into a temporary folder.
venv_with_packaged_pip() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "this Python lacks ensurepip (package python3-venv): getting pip from the package archive (20 MB)"
    parts=$(mktemp -d)
    mkdir -p "$parts/state/lists/partial" "$parts/cache/archives/partial"
    (
        cd "$parts"
        set -- -qq -o "Dir::State=$parts/state" -o Dir::State::status=/var/lib/dpkg/status \
            -o "Dir::Cache=$parts/cache" -o APT::Sandbox::User= -o Acquire::Languages=none
        apt-get "$@" update && apt-get "$@" download python3-pip-whl && dpkg-deb -x python3-pip-whl*.deb .
    ) >"$parts/log" 2>&1 &&
        "$1" -m venv --without-pip .venv &&
        PYTHONPATH=$(ls "$parts"/usr/share/python-wheels/pip-*.whl) .venv/bin/python -m pip install -q pip ||
        { rm -rf "$parts" .venv; return 1; }
    rm -rf "$parts"
}

make_venv() {
    python=$(find_python)
    rm -rf .venv
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        "$python" -m venv .venv >/dev/null || die "cannot make .venv: see the lines above"
    else
        "$python" -c 'import venv' 2>/dev/null && venv_with_packaged_pip "$python" ||
            die "Python's venv module is missing: apt-get install python3-venv"
    fi
    pwd -P >.venv/.place
}

free_mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
[ "$free_mb" -ge "$needed_mb" ] || die "no disk space: $needed_mb MB are needed in $(pwd), $free_mb MB are free"

if moved || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then make_venv; fi

# What pip said last, as one line that says what to do.
explain() {
    log=.venv/install.log
    if grep -qE 'No space left' "$log"; then
        die "no disk space left while installing into $(pwd)/.venv"
    elif grep -q 'CERTIFICATE_VERIFY_FAILED' "$log"; then
        die "the package index's certificate is not trusted here: install ca-certificates, or set PIP_CERT to your proxy's (details: $log)"
    elif grep -qE 'NewConnectionError|NameResolutionError|Network is unreachable|ConnectTimeout|ProxyError|No matching distribution' "$log"; then
        die "no network: the Python packages cannot be downloaded; set pip's index-url or proxy if this machine needs one (details: $log)"
    fi
    die "pip failed: $(grep -E '^ *(ERROR|error)' "$log" | tail -n 1) (details: $log)"
}

groups=
for group in "$@"; do groups="$groups --group $group"; done
say "installing lbkit into .venv${*:+ with the groups: $*} (10 to 90 MB of downloads)"
{
    .venv/bin/python -m pip install -q --disable-pip-version-check 'pip>=25.1' &&
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install -q --disable-pip-version-check -e . $groups
} >.venv/install.log 2>&1 || explain
printf '%s' "$want" >"$stamp"
