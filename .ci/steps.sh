# What .ci/run and .ci/nightly share: the checkout as the working folder, a folder for their files, data sets, steps with times.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -d ../shared/data ] && export FASTDL_DATA="$PWD/../shared/data"

step() {  # begin the step NAME; say how long the one before took
    [ -z "${begun:-}" ] || printf -- '--- %d s\n' "$((SECONDS - begun))"
    begun=$SECONDS
    printf '\n=== %s (at %d s)\n' "$*" "$SECONDS"
}

virtual_environment() {  # make one in FOLDER, and use it
    python3 -m venv "$1"
    . "$1/bin/activate"
    pip install --quiet --upgrade pip
}
