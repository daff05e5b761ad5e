# Where the tools are: versions, the cache, and the commands of it. Sourced by every script here.
#
# Owns the names ZIG, BUN and LIBSODIUM, each empty until it is there, and Zig's own settings.
# Fetches nothing (scripts/build does). A tool of exactly the pinned version on PATH is taken
# before the cache's.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
MESHVPN_CACHE="${MESHVPN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/meshvpn}"

ZIG_VERSION=0.17.1
BUN_VERSION=1.4.5
# The first is what pip brings; the second is the other route, taken only where the first fails.
LIBSODIUM_VERSIONS=(1.0.20 1.0.22)

export ZIG_GLOBAL_CACHE_DIR="$MESHVPN_CACHE/zig-cache"
# Zig compiles its build runner once for each machine: 10 s so, 100 s when optimized.
export ZIG_DEBUG_CMD=1

# say TEXT...: one line of progress on stderr.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# fail WHAT WHY REMEDY: the one-line error that ends a script.
fail() {
  say "error: $1: $2; $3"
  exit 1
}

# seconds_since START: START in nanoseconds of `date +%s%N`; one decimal.
seconds_since() {
  local tenths=$((($(date +%s%N) - $1) / 100000000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# find_tools: sets ZIG, BUN, LIBSODIUM to what is there already.
find_tools() {
  local version
  ZIG="$(command -v zig || true)"
  [ -n "$ZIG" ] && [ "$("$ZIG" version 2>/dev/null)" = "$ZIG_VERSION" ] || ZIG="$MESHVPN_CACHE/zig-$ZIG_VERSION/ziglang/zig"
  [ -x "$ZIG" ] || ZIG=
  BUN="$(command -v bun || true)"
  [ -n "$BUN" ] && [ "$("$BUN" --version 2>/dev/null)" = "$BUN_VERSION" ] || BUN="$MESHVPN_CACHE/bun-$BUN_VERSION/node_modules/.bin/bun"
  [ -x "$BUN" ] || BUN=
  LIBSODIUM=
  for version in "${LIBSODIUM_VERSIONS[@]}"; do
    LIBSODIUM="$MESHVPN_CACHE/libsodium-$version/src"
    [ -f "$LIBSODIUM/src/libsodium/sodium/core.c" ] && return 0
  done
  LIBSODIUM=
}
