# What ./samples/run, ./tests/run and ./bench/run have in common: install what is missing, configure, build.
# Sourced with bash; `top` is the project's directory. Done twice, it does nothing twice.

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# package<blank>what shows that it is there (a command, or a file under an include or library directory)
needs_build='
g++ g++
meson meson
ninja-build ninja
pkg-config pkg-config
libboost1.81-dev boost/pfr.hpp
libcaf-dev caf/actor_system.hpp'
needs_tests='
catch2 catch2/catch.hpp|catch2/catch_all.hpp
libcereal-dev cereal/cereal.hpp
python3 python3
clang-19 clang++-19
libclang-rt-19-dev libclang_rt.fuzzer.a
llvm-19 llvm-symbolizer-19
clang-format-14 clang-format-14
cmake cmake
strace strace
ccache ccache'
# What a test does without, saying so.
needs_memcheck='
valgrind valgrind'

# present WHAT: is the command, header or runtime library there?
present() {
  local one
  for one in ${1//|/ }; do
    case $one in
      *.hpp) [ -e "/usr/include/$one" ] || [ -e "/usr/local/include/$one" ] && return 0 ;;
      *.a) compgen -G "/usr/lib/llvm-19/lib/clang/*/lib/linux/${one%.a}*" >/dev/null && return 0 ;;
      *) command -v "$one" >/dev/null 2>&1 && return 0 ;;
    esac
  done
  return 1
}

# install LIST: installs the packages of the list that are missing, and names them.
install() {
  local missing=() package probe root=()
  while read -r package probe; do
    [ -z "$package" ] || present "$probe" || missing+=("$package")
  done <<<"$1"
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null 2>&1 ||
    die "this needs ${missing[*]} (names of Debian 12), and there is no apt-get here to install them. Install what your system calls them, then try again."
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      die "this needs ${missing[*]}. Only root may install packages and there is no sudo: run as root: apt-get install ${missing[*]}"
    root=(sudo)
  fi
  say "installing with apt-get: ${missing[*]}"
  local log; log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  apt() { ${root[@]+"${root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1 </dev/null; }
  # The lists of a fresh machine are missing or old: update only when a package cannot be had as it is.
  apt install --no-install-recommends "${missing[@]}" || { apt update && apt install --no-install-recommends "${missing[@]}"; } || {
    tail -n 15 "$log" >&2; rm -f "$log"
    die "apt-get could not install ${missing[*]} (its last words are above). Is there a network, and is this Debian 12 or newer?"
  }
  rm -f "$log"
}

# configure DIRECTORY [meson options]: once; again when the options are others than last time.
configure() {
  local directory=$1 wanted; shift
  # A directory that exists keeps the defaults it was made with: other defaults, another directory.
  wanted="CXX=${CXX:-} $* $(sed -n '/default_options/,/])/p' "$top/meson.build" | cksum)"
  if [ -f "$directory/build.ninja" ] && [ "$(cat "$directory/.options" 2>/dev/null)" = "$wanted" ]; then return 0; fi
  rm -rf "$directory"; mkdir -p "$directory"
  say "configuring ${directory#"$top"/} ($*)"
  meson setup "$directory" "$top" "$@" >"$directory/configure.log" 2>&1 || { tail -n 20 "$directory/configure.log" >&2; rm -rf "$directory"; die "meson setup failed"; }
  printf '%s' "$wanted" >"$directory/.options"
}

# What a compiler cache must overlook to take precompiled headers.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}

# build DIRECTORY [targets]: quiet when it works. Two at once in one directory would read each other's half-written files.
build() {
  local directory=$1; shift
  (flock 9; build_alone "$directory" "$@") 9>"$directory/.lock"
}
build_alone() {
  local directory=$1; shift
  if [ -n "$(ninja -C "$directory" -n "$@" 2>/dev/null | sed -n '/^\[/p' | head -n 1)" ]; then
    say "building ${directory#"$top"/}"
    local began=$SECONDS
    ninja -C "$directory" "$@" >"$directory/build.log" 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\] (Compiling|Linking|Generating)' "$directory/build.log" | head -n 60 >&2; die "the build failed (all of it: ${directory#"$top"/}/build.log)"; }
    say "built in $((SECONDS - began)) s"
  fi
}
