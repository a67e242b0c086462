#!/bin/sh
# The scaling study of docs/scaling.md: 20,000 generated users, about 40 minutes on two cores.
#
#     PORTRAIT_HOME=/tmp/scaling/home examples/scaling.sh /tmp/scaling/files
#
# Killed, it goes on where it was. AT_ONCE is how many runs are trained at a time.
set -e
export RAY_worker_niceness=0  # Ray's own is 15: beside anything else, runs would hardly move
files=${1:?the folder for the generated tables}
python=$(dirname "$0")/../.venv/bin/python
portrait() { "$python" -m portrait.infra.cli.main "$@"; }
study() { portrait study scaling --users 18000 --lengths 32 --at-once "${AT_ONCE:-2}" "$@"; }

if [ ! -d "$PORTRAIT_HOME/studies" ]; then
    "$python" -c "
from pathlib import Path
from portrait.infra.generator import generate
generate(Path('$files'), users=20_000, events_per_user=100, pickiness=0.9)"
    portrait ingest --events "$files/events.parquet" --items "$files/items.parquet" --users "$files/users.parquet"
fi

study --sizes pico,nano --batches 32,128 --budgets 3e10,1e11,3e11
study --sizes pico,nano,micro --batches 32,128,512 --budgets 1e12 --seeds 0,1
study --sizes pico,nano,micro --batches 128 --budgets 3e12
study --sizes nano --batches 512 --budgets 3e12
study --sizes nano --batches 128 --budgets 1e12 --users 2000,6000
study --sizes nano --batches 128 --budgets 1e12 --lengths 8,16

# What the law says of three times the largest run's compute is trained, and kept out of the law.
next=$(portrait study scaling --report-only --budget 1e13 --json | "$python" -c "
import json, sys
print(json.load(sys.stdin)['forecasts'][0]['run'])")
portrait study scaling --hold-out "$next" --budget 1e13 --budget 1e14 --budget 1e16
