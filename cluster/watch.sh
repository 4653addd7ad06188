#!/usr/bin/env bash
# Prometheus, and Grafana where it is installed, with the alert rules and dashboards of this checkout, on this machine
# only. Start it before a job or after; the job needs telemetry.port and telemetry.targets, which `up` prints.
#
#   cluster/watch.sh up        start both, and print the addresses and the settings of a job
#   cluster/watch.sh status    what is alive
#   cluster/watch.sh down      end both; what Prometheus has recorded stays
#
# Settings: GENRESCALE_WATCH (folder, ~/.genrescale/watch), GENRESCALE_PROMETHEUS_PORT (9090), GENRESCALE_GRAFANA_PORT
# (3000). Start it on the head node of a cluster.
# Debian: apt-get install --no-install-recommends prometheus. Grafana: https://grafana.com/grafana/download
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${GENRESCALE_WATCH:-$HOME/.genrescale/watch}
export GENRESCALE_PROMETHEUS_PORT=${GENRESCALE_PROMETHEUS_PORT:-9090} GENRESCALE_DASHBOARDS=$state/dashboards
grafana_port=${GENRESCALE_GRAFANA_PORT:-3000}

fail() { echo "watch.sh: $*" >&2; exit 1; }
alive() { # the process of a pid file; one that has ended and waits for its parent to notice is not alive
  local stat
  [[ -s $1 ]] && stat=$(cat "/proc/$(cat "$1")/stat" 2>/dev/null) && [[ ${stat##*) } != Z* ]]
}

answers() { # an address, within 20 s
  for _ in $(seq 200); do
    curl -fs --noproxy '*' "$1" > /dev/null && return
    alive "$2" || return 1
    sleep 0.1
  done
  return 1
}

configure() { # paths of this checkout and of the state
  mkdir -p "$state/targets" "$state/dashboards" "$state/data"
  cp "$here"/dashboards/*.json "$state/dashboards/"
  sed -e "s|\.\./\.\./dashboards/|$here/dashboards/|" -e "s|\[targets/|[$state/targets/|" \
    "$here/cluster/prometheus/prometheus.yml" > "$state/prometheus.yml"
}

start_prometheus() {
  command -v prometheus > /dev/null || fail "there is no prometheus; see the head of this file"
  setsid prometheus --config.file="$state/prometheus.yml" --storage.tsdb.path="$state/data" \
    --web.listen-address="127.0.0.1:$GENRESCALE_PROMETHEUS_PORT" > "$state/prometheus.log" 2>&1 < /dev/null &
  echo $! > "$state/prometheus.pid"
  answers "http://127.0.0.1:$GENRESCALE_PROMETHEUS_PORT/-/ready" "$state/prometheus.pid" ||
    fail "Prometheus did not start; see $state/prometheus.log"
  echo "Prometheus: http://127.0.0.1:$GENRESCALE_PROMETHEUS_PORT"
}

start_grafana() {
  local home
  if ! command -v grafana > /dev/null; then
    echo "Grafana: not installed; its dashboards are in $state/dashboards, to be imported"
    return
  fi
  home=${GF_PATHS_HOME:-/usr/share/grafana}
  GF_SERVER_HTTP_ADDR=127.0.0.1 GF_SERVER_HTTP_PORT=$grafana_port GF_AUTH_ANONYMOUS_ENABLED=true \
    GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer GF_ANALYTICS_REPORTING_ENABLED=false GF_ANALYTICS_CHECK_FOR_UPDATES=false \
    GF_PATHS_DATA=$state/grafana GF_PATHS_PROVISIONING=$here/cluster/grafana/provisioning \
    setsid grafana server --homepath "$home" > "$state/grafana.log" 2>&1 < /dev/null &
  echo $! > "$state/grafana.pid"
  answers "http://127.0.0.1:$grafana_port/api/health" "$state/grafana.pid" ||
    fail "Grafana did not start; see $state/grafana.log"
  echo "Grafana: http://127.0.0.1:$grafana_port/dashboards"
}

end() { # a process by its pid file
  alive "$1" || { rm -f "$1"; return 0; }
  kill "$(cat "$1")"
  for _ in $(seq 100); do alive "$1" || break; sleep 0.1; done
  rm -f "$1"
}

case ${1:-} in
  up)
    alive "$state/prometheus.pid" && fail "it is up already: cluster/watch.sh down ends it"
    configure
    start_prometheus
    start_grafana
    echo "settings of a job: telemetry.port=0 telemetry.targets=$state/targets"
    ;;
  status)
    for name in prometheus grafana; do alive "$state/$name.pid" && echo "$name: alive" || echo "$name: not running"; done
    ;;
  down)
    end "$state/grafana.pid"
    end "$state/prometheus.pid"
    ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
