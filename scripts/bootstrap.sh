#!/bin/sh
# Find a Python that Parallactic runs on, and let it make .venv: sh scripts/bootstrap.sh demo|test
set -eu
here=$(dirname "$0")
profile=${1:-}
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON" # what the caller names is used or refused; another in its place would be a surprise
else
    set -- python3.11 python3 python3.12 python3.13 python3.14 # 3.11 first: CASA has packages for it
fi
found=""
for candidate in "$@"; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in
        3.[0-9] | 3.10 | [0-2].*) found="$found $candidate is $version;" ;;
        *) exec "$candidate" -I "$here/bootstrap.py" "$profile" ;;
    esac
done
echo "[set-up] Parallactic needs Python 3.11 or later:${found:- ${PYTHON:-python3} was not found;}" >&2
echo "[set-up] on Debian 12: apt-get install python3. A Python elsewhere: make PYTHON=/path/to/python3.11 ..." >&2
exit 1
