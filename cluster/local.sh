#!/usr/bin/env bash
# A real Ray cluster of several nodes on one Linux machine, with an S3 server beside it: each node is a network namespace
# with its own address, mounts, /dev/shm, process table and Ray folder. Needs root and iproute2.
#
#   cluster/local.sh up [NODES]     start the S3 server and the nodes (3), then print the settings of a client
#   cluster/local.sh env            print them again:  eval "$(cluster/local.sh env)"
#   cluster/local.sh kill N         node N dies at once, as in a power cut
#   cluster/local.sh start N        node N (again)
#   cluster/local.sh status         nodes and S3 server, alive or dead
#   cluster/local.sh logs           everything that Ray and the S3 server logged, as a list of files
#   cluster/local.sh down           end and remove everything
#
# Only the head's processes hold the keys of the S3 server: a job passes them on to its workers. The S3 server has a
# namespace of its own, which lets in its S3 port alone: its other servers ask for no key.
# Settings: GENRESCALE_CLUSTER (folder, /tmp/genrescale-cluster), GENRESCALE_NET (10.77.0), GENRESCALE_NODE_CPUS (2).
set -euo pipefail
umask 077 # the state holds keys

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${GENRESCALE_BIN:-$here/.venv/bin}
state=${GENRESCALE_CLUSTER:-/tmp/genrescale-cluster}
net=${GENRESCALE_NET:-10.77.0}
cpus=${GENRESCALE_NODE_CPUS:-2}
tag=gr${net//./}
host=$net.253 # of this machine, on the nodes' network
s3=$net.254
head=$net.1
s3_port=8333

fail() { echo "local.sh: $*" >&2; exit 1; }
alive() { # the process of a pid file; one that has ended and waits for its parent to notice is not alive
  local stat
  [[ -s $1 ]] && stat=$(cat "/proc/$(cat "$1")/stat" 2>/dev/null) && [[ ${stat##*) } != Z* ]]
}

is_ours() { # a folder, no link, that only this user may enter: nobody else can have put anything into it
  [[ -d $state && ! -L $state && $(stat -c '%u %a' "$state") == "$(id -u) 700" ]]
}

require_up() {
  [[ -e $state ]] || fail "nothing is up in $state"
  is_ours || fail "$state is not a folder that only you may enter, so it may hold somebody else's token; nothing is done"
  [[ -e $state/up ]] || fail "nothing is up in $state"
}

make_net() { # the namespace $tag-NAME on the bridge, with an address
  local ns=$tag-$1
  ip netns add "$ns"
  ip link add "$tag-$1v" type veth peer name eth0 netns "$ns"
  ip link set "$tag-$1v" master "$tag" up
  ip -n "$ns" addr add "$2/24" dev eth0
  ip -n "$ns" link set lo up
  ip -n "$ns" link set eth0 up
}

let_in_only() { # of what arrives at a namespace, everything but this port is dropped
  local ns=$tag-$1
  ip -n "$ns" rule add pref 1 iif eth0 ipproto tcp dport "$2" lookup local
  # not for every protocol: to answer who has an address (ARP), the kernel looks up the way to it, too
  for protocol in tcp udp; do ip -n "$ns" rule add pref 2 iif eth0 ipproto $protocol blackhole; done
  ip -n "$ns" rule add pref 3 lookup local
  ip -n "$ns" rule del pref 0
}

start_s3() {
  mkdir -p "$state/s3"
  printf '{"identities":[{"name":"music","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin"]}]}' \
    "$(cat "$state/access_key")" "$(cat "$state/secret_key")" > "$state/s3.json"
  make_net s3 "$s3"
  let_in_only s3 $s3_port
  # the server reports to an outside address unless told not to
  setsid ip netns exec "$tag-s3" "$bin/weed" -logtostderr=true mini -dir="$state/s3" -ip="$s3" -ip.bind="$s3" \
    -master.telemetry=false -filer.localSocket="$state/filer.sock" -webdav=false -admin.ui=false -s3.port.iceberg=0 -s3.port.lance=0 -s3.port=$s3_port -s3.config="$state/s3.json" \
    -bucket=music > "$state/s3.log" 2>&1 < /dev/null &
  echo $! > "$state/s3.pid"
  for _ in $(seq 400); do
    curl -fs "http://$s3:$s3_port/healthz" > /dev/null && return
    alive "$state/s3.pid" || break
    sleep 0.1
  done
  fail "the S3 server did not start; see $state/s3.log"
}

client_env() {
  cat << EOF
export RAY_API_SERVER_ADDRESS=http://$head:8265
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token
export AWS_ENDPOINT_URL=http://$s3:$s3_port AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=$(cat "$state/access_key") AWS_SECRET_ACCESS_KEY=$(cat "$state/secret_key")
EOF
}

start_node() {
  local n=$1 role
  alive "$state/node$n.pid" && fail "node $n runs already"
  [[ -e /run/netns/$tag-n$n ]] || make_net "n$n" "$net.$n"
  mkdir -p "$state/node$n" /tmp/ray
  if [[ $n == 1 ]]; then
    role="--head --port=6379 --dashboard-host=0.0.0.0 --dashboard-port=8265"
  else
    role="--address=$head:6379"
  fi
  (
    if [[ $n == 1 ]]; then eval "$(client_env)"; fi
    export PATH=$bin:$PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token GLOO_SOCKET_IFNAME=eth0
    unset RAY_API_SERVER_ADDRESS RAY_ADDRESS
    exec setsid ip netns exec "$tag-n$n" unshare -m -p -f --kill-child=SIGKILL --mount-proc bash -c "
      mount -t tmpfs -o size=2g tmpfs /dev/shm
      mount --bind '$state/node$n' /tmp/ray
      # on a busy machine a node may not start within Ray's 30 s: it ends with status 1, and is started again
      for attempt in 1 2 3 4 5; do
        ray start $role --node-ip-address=$net.$n --num-cpus=$cpus --object-store-memory=500000000 \
          --disable-usage-stats --block && break
        sleep 1
      done" > "$state/node$n.log" 2>&1 < /dev/null
  ) &
  echo $! > "$state/node$n.pid"
}

wait_for_nodes() { # every node asked for has joined
  local wanted=$1
  local joined=0
  for _ in $(seq 360); do
    joined=$(curl -fs -H "@$state/header" "http://$head:8265/nodes?view=summary" \
      | grep -o '"state": *"ALIVE"' | wc -l || true)
    [[ $joined -ge $wanted ]] && return
    sleep 0.5
  done
  fail "only $joined of $wanted nodes joined; see $state/node*.log"
}

kill_node() {
  alive "$state/node$1.pid" || fail "node $1 does not run"
  local pid
  pid=$(cat "$state/node$1.pid")
  # the first process of the node's process table takes all others with it
  kill -KILL "$pid"
  while alive "$state/node$1.pid"; do sleep 0.05; done
  rm -f "$state/node$1.pid"
}

up() {
  local nodes=${1:-3}
  [[ $(id -u) == 0 ]] || fail "network namespaces need root"
  command -v ip > /dev/null || fail "iproute2 is missing (Debian: apt-get install iproute2)"
  [[ -x $bin/ray && -x $bin/weed ]] || fail "no ray and weed in $bin; run make env"
  is_ours && [[ -e $state/up ]] && fail "it is up already ($state); cluster/local.sh down removes it"
  # fails where it exists: an empty folder of somebody else's could be filled by them later
  mkdir -m 700 "$state" || fail "$state cannot be made or exists; set GENRESCALE_CLUSTER to a folder that does not exist"
  is_ours || fail "$state is not a folder that only you may enter"
  touch "$state/up"
  head -c 24 /dev/urandom | base64 | tr -d '+/=\n' > "$state/secret_key"
  head -c 12 /dev/urandom | base64 | tr -d '+/=\n' > "$state/access_key"
  head -c 32 /dev/urandom | base64 | tr -d '+/=\n' > "$state/token"
  # any user of the machine reads the arguments of a process, so curl gets the token in a file
  printf 'Authorization: Bearer %s' "$(cat "$state/token")" > "$state/header"
  ip link add "$tag" type bridge
  ip addr add "$host/24" dev "$tag"
  ip link set "$tag" up
  start_s3
  for n in $(seq "$nodes"); do # one after the other: a node that has not started after 30 s gives up
    start_node "$n"
    wait_for_nodes "$n"
  done
  client_env
}

down() {
  local pidfile n
  for pidfile in "$state"/node*.pid; do
    n=${pidfile##*node}
    if alive "$pidfile"; then kill_node "${n%.pid}"; fi
  done
  if alive "$state/s3.pid"; then
    kill "$(cat "$state/s3.pid")"
    for _ in $(seq 150); do alive "$state/s3.pid" || break; sleep 0.1; done
    if alive "$state/s3.pid"; then kill -KILL "$(cat "$state/s3.pid")"; fi
  fi
  for ns in $(ip netns list | grep -oE "^$tag-(n[0-9]+|s3)" || true); do ip netns del "$ns"; done
  if ip link show "$tag" > /dev/null 2>&1; then ip link del "$tag"; fi
  rm -rf "$state"
}

status() {
  local pidfile
  for pidfile in "$state"/*.pid; do
    [[ -e $pidfile ]] || fail "nothing is up in $state"
    if alive "$pidfile"; then echo "$(basename "$pidfile" .pid) alive"; else echo "$(basename "$pidfile" .pid) dead"; fi
  done
}

case ${1:-} in
  env|kill|start|status|logs|down) require_up ;;
esac
case ${1:-} in
  up) up "${2:-3}" ;;
  env) client_env ;;
  kill) kill_node "${2:?which node?}" ;;
  start) start_node "${2:?which node?}" ;;
  status) status ;;
  logs) find "$state" -type f \( -name '*.log' -o -name '*.out' -o -name '*.err' \) ;;
  down) down ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
