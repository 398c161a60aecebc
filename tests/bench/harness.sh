#!/bin/bash
# certhook, with every report on, against the floor (the writer sends nginx its signal itself): in one run, in turn.
# For the bench that stands beside the repository, where there is one; as root. Prints a table.
#   tests/bench/harness.sh [--quick]
#   CERTHOOK=/path/to/certhook tests/bench/harness.sh      of another build
set -euo pipefail
cd "$(dirname "$0")/../.."
bench=$(realpath "${CERTHOOK_BENCH:-../shared/bench}" 2>/dev/null || true)
[ -x "$bench/latency.py" ] || { echo "skipped: there is no bench at ${CERTHOOK_BENCH:-../shared/bench}"; exit 0; }
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
certhook=${CERTHOOK:-$target/release/certhook}
trials=12 few=6 bursts=5 seconds=60
[ "${1-}" != --quick ] || trials=5 few=3 bursts=2 seconds=10

export CERTBENCH_SCRATCH=$target/bench
[ -x "$CERTBENCH_SCRATCH/venv/bin/python" ] || "$bench/setup.sh" --min >&2
python=$CERTBENCH_SCRATCH/venv/bin/python
work=$(mktemp -d)
simulator=
trap '[ -z "$simulator" ] || kill $simulator 2>/dev/null; rm -rf "$work"' EXIT

records=()
for site in $(seq 0 999); do
    records+=(--certificate "id=$((100 + site)),name=site$site.example.test,expires=2030-01-01T00:00:00,installed=2026-01-01T00:00:00")
done
secret=$(head -c 24 /dev/urandom | base64)
(umask 077 && printf %s "$secret" >"$work/secret")
"$target/debug/portal-simulator" --requests-per-week 900000 --client-secret "$secret" "${records[@]}" >"$work/portal" &
simulator=$!
until [ -s "$work/portal" ]; do sleep 0.1; done
portal=$(head -1 "$work/portal")

configuration() {
    cat <<END
state_dir = "{work}/state"
site = [
  { certificate = "{site_dir}/fullchain.pem", key = "{site_dir}/privkey.pem", name = "{name}", stage_as = "site{site}", verify = ["127.0.0.1:{ports}"] },
]
[server.nginx]
kind = "nginx"
pid_file = "{nginx_pid_file}"
$1
[portal]
endpoint = "$portal"
login = "$portal"
tenant_id = "contoso.com"
client_id = "625bc9f6-3bf6-4b6d-94ba-e97cf07a22de"
client_secret_file = "$work/secret"
requests_per_week = 900000
[limits]
changes_free = 0
reports_per_day = 0
share = 0
END
}
configuration "" >"$work/plain.toml"
configuration 'stage = "{stage}/live"' >"$work/staged.toml"

realtime=--realtime
chrt -r 1 true 2>/dev/null || realtime=
run() {
    local name=$1 form=$2
    shift 2
    "$python" "$bench/latency.py" $realtime --tool cmd --label certhook --reload hup --watch-config "$work/$form.toml" \
        --watch-cmd "$certhook --config {config} run" --out "$work/$name.json" "$@"
    "$python" tests/bench/row.py "$name" "$work/$name.json"
}

"$python" tests/bench/row.py
for servers in 1 100; do run "one of $servers" plain --servers $servers --trials $trials; done
run "one of 1000" plain --servers 1000 --trials $few
for style in rename inplace slow symlink k8s; do
    for gap in 0 20 300; do
        run "$style, gap $gap ms" plain --servers 10 --style $style --gap-ms $gap --trials $few
    done
done
run "burst" plain --scenario burst --servers 100 --burst 1,10,100 --trials $bursts
run "burst of 1000 blocks" plain --scenario burst --servers 1000 --burst 100 --trials 2 --limit-s 20
trickle=(--scenario burst --servers 100 --burst 50 --spacing-ms 50 --style inplace --gap-ms 5 --limit-s 20 --trials 3)
run "50, one every 50 ms" plain "${trickle[@]}"
run "the same, staged" staged --stage "${trickle[@]}"
run "idle" plain --scenario idle --servers 1000 --dirs 1000 --seconds $seconds
