# What the scripts that make network namespaces need before they start: root, /dev/net/tun, and
# programs that Debian has. Sourced after env.sh; says in one line what is lacking.

# need_stage: root, and a TUN device to open.
need_stage() {
  if [ "$(id -u)" -ne 0 ]; then
    say "error: no root: network namespaces and TUN devices need it; run it as root, or with sudo"
    exit 5
  fi
  [ -c /dev/net/tun ] || fail "no /dev/net/tun" "the kernel module is not loaded, or this container lacks the device" \
    "modprobe tun, or give the container /dev/net/tun"
}

# whole_number OPTION VALUE LEAST MOST
whole_number() {
  [[ "$2" =~ ^[0-9]{1,7}$ ]] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] && return
  usage_error "$1 takes a whole number from $3 to $4, not \"$2\""
}

usage_error() {
  say "error: $1; see scripts/${0##*/} --help"
  exit 2
}

# bring_programs COMMAND:PACKAGE...: installs what is missing by apt-get; sets MISSING to the rest.
bring_programs() {
  local pair packages=()
  MISSING=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  if command -v apt-get >/dev/null; then
    say "installing ${packages[*]}, by apt-get"
    apt_install "${packages[@]}" || { apt-get update -qq >/dev/null 2>&1 && apt_install "${packages[@]}"; } || true
  fi
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || MISSING+=("${pair%%:*} (Debian: ${pair#*:})")
  done
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1
}
