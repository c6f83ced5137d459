#!/bin/bash
# What a machine runs when it comes up for the first time, as root. dstack_core/cloud/boot.py fills in the values.
set -u
umask 077
@VALUES@
STATE=/run/dstack DSTACK_HOME=/var/lib/dstack LOG=/var/log/dstack.log VENV=/var/lib/dstack/venv
WRONG="what came is not the bundle that this machine was to start from"
self=$(readlink -f "$0")

say() { echo "dstack: $1" | tee -a "$LOG"; }

# Waits with no new process, so that a machine that can start none ends as well.
pause() { read -rt "$1" -u 9 || :; }

# Runs on after the user data, whatever the machine has for that.
detached() {
  if [ -d /run/systemd/system ]; then
    systemd-run --quiet --unit="dstack-$1" --property=Restart="$2" --property=OOMPolicy=continue \
      --property=StandardOutput=journal+console bash "$self" "${@:3}" && return
  fi
  setsid bash "$self" "${@:3}" < /dev/null &
}

off() { shutdown -h now || poweroff; }

# The machine's own end: when nobody has extended its life, and after MAX_DURATION in any case.
watch() {
  local born=${1%%.*} told up why= grace  # seconds of a clock that nobody sets
  local deadline=$((born + LEASE))
  { echo -1000 > /proc/self/oom_score_adj; } 2> /dev/null  # where that is allowed
  [ -p $STATE/pause ] || mkfifo $STATE/pause
  exec 9<> $STATE/pause
  until [ "$why" ]; do
    pause 1
    if read -r told < $STATE/life && [[ $told =~ ^[0-9]+$ ]]; then deadline=$told; fi
    read -r up _ < /proc/uptime
    if ((deadline == 0)); then
      why="its runner has ended" grace=0
    elif ((${up%.*} >= deadline)); then
      why="nobody extended its life" grace=10
    elif ((MAX_DURATION && ${up%.*} >= born + MAX_DURATION)); then
      why="it is up for longer than max_duration" grace=60
    fi
  done 2> /dev/null
  say "this machine ends: $why"
  if read -r told < $STATE/runner && kill -TERM "$told"; then
    while ((grace-- > 0)) && kill -0 "$told"; do pause 1; done
  fi 2> /dev/null
  off
  pause 60
  say "it is still up: pulling the plug"
  poweroff --force --force
  echo o > /proc/sysrq-trigger
}

# Says why there is no runner to where the run is kept, and ends the machine.
fail() {
  say "$1"
  tail -c 3000 "$LOG" > $STATE/said
  [ "$REPORT" ] && curl -fsS -m 20 --retry 3 -T $STATE/said "$REPORT"
  end
}

end() { echo 0 > $STATE/life; off; exit; }

fetched() {
  curl -fsSL --connect-timeout 10 --speed-limit 1000 --speed-time 30 -o "$1" "$BUNDLE_URL" 2>&1 || return
  [ "$(stat -c %s "$1")" = "$BUNDLE_SIZE" ] && echo "$BUNDLE_DIGEST  $1" | sha256sum --check --status && return
  echo "$WRONG"
  return 1
}

fetch() {
  local problem wait
  for wait in 1 2 4 8 0; do
    problem=$(fetched "$1") && return
    say "$problem"
    [ "$problem" = "$WRONG" ] && [ $wait != 1 ] && break  # twice is no accident
    sleep $wait
  done
  fail "there is nothing to start from: $problem"
}

# One of these versions, the first of them that is there.
find_python() {
  local name
  for name in "${@/#/python}" python3; do
    "$name" -c 'import sys, venv; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv)' "$@" 2> /dev/null &&
      echo "$name" && return
  done
  return 1
}

install_package() {
  say "installing $1"
  (
    umask 022
    dnf install -qy "$1" || { apt-get update -qq && apt-get install -qqy --no-install-recommends "$1"; }
  ) >> "$LOG" 2>&1
}

# Of the bundle, what is in one of its archives.
unpack() {
  tar -xOf "$1" "$2.tar.gz" | tar -xz --no-same-owner -C "$3"
  [ "${PIPESTATUS[*]}" = "0 0" ]
}

# A Python environment of exactly what the bundle has, which is what pip would make of it, and take its time.
prepare() {
  local archive=$DSTACK_HOME/bundle.tar pythons found site version
  fetch $archive
  mapfile -t pythons < <(tar -xOf $archive pythons)
  [ "${pythons[0]:-}" ] || fail "the bundle cannot be unpacked"
  found=$(find_python "${pythons[@]}") || {
    install_package "python${pythons[0]}" || install_package "python${pythons[1]:-3}" || install_package python3
    found=$(find_python "${pythons[@]}")
  } || fail "there is no Python of a version for which there are wheels: ${pythons[*]}"
  "$found" -m venv --without-pip $VENV >> "$LOG" 2>&1 || fail "there is no Python environment: $(tail -n 1 "$LOG")"
  site=$(echo $VENV/lib/python3.*/site-packages)
  version=${site#*/python} version=${version%%/*}
  # One after the other: a tar gives up when another makes the folder that it was about to make.
  { unpack $archive any "$site" && unpack $archive "cp${version/./}" "$site"; } >> "$LOG" 2>&1 ||
    fail "the bundle cannot be installed: $(tail -n 1 "$LOG")"
  rm -f $archive
  command -v docker > /dev/null || install_package docker || install_package docker.io ||
    fail "there is no Docker engine"
  [ -d /run/systemd/system ] && systemctl start docker
  ARGV[0]=$VENV/bin/python
}

boot() {
  export HOME=/root DSTACK_HOME DSTACK_LIFE=$STATE/life DSTACK_LEASE=$LEASE
  printf %s "$CONFIG" > $DSTACK_HOME/config.yaml
  [ "$BUNDLE_URL" ] && prepare
  say "the runner starts"
  env "${VARIABLES[@]}" "${ARGV[@]}" >> "$LOG" 2>&1 &
  echo $! > $STATE/runner
  wait $!
  local code=$?
  [ $code = 0 ] || fail "the runner ended with $code"
  say "the runner has ended"
  end
}

mkdir -p $STATE $DSTACK_HOME
if [ "${1:-}" ]; then
  "$@"
else
  detached watch always watch "$(< /proc/uptime)"
  # A machine that is started again has lost its runner, and nobody waits for it.
  mkdir -p /var/lib/cloud/scripts/per-boot
  printf '#!/bin/bash\nshutdown -h now || poweroff\n' > /var/lib/cloud/scripts/per-boot/dstack
  chmod 700 /var/lib/cloud/scripts/per-boot/dstack
  detached boot no boot
fi
