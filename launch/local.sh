#!/usr/bin/env bash
# Start a run on this machine: launch/local.sh model=llama2_7b mix=scitulu ...
# It takes the project's environment where there is one, and logs to the terminal as the command itself does.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m sciriff.train "$@"
