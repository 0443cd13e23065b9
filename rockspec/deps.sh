#!/bin/sh
# Checks or installs the system packages that this project needs.
#
#   sh rockspec/deps.sh check   [WHAT]... [lua5.4]...   prints what is missing; exits with 1 if anything is
#   sh rockspec/deps.sh install [WHAT]... [lua5.4]...   prints it, then installs it
#
# WHAT is one or more of
#   build     the Lua module, for each Lua named (lua5.1 ... lua5.5, luajit; default lua5.4)
#   sandbox   the server for tests and the demo (libmicrohttpd, jansson)
#   cli       what the command `leat` needs beside the module (argparse)
#   jobs      the journal of jobs (SQLite)
#   postgres  jobs of several machines (libpq), and for their tests a server, pgbouncer and networks
#   test      busted, LuaSocket, GnuTLS for the servers that test TLS, luaossl for a recipe, and libpq, whose module
#             some specs load without a server
#   hosts     event loops, Neovim and the server of Luanti, to make calls in
#   bench     a server, and the clients to compare with; uses Node and npm if they are installed
#   nginx     nginx with its Lua module, LuaJIT for the modules that it loads, and LuaSocket
#   fleet     machines with nginx that share a rate: a client of Redis for nginx, and a server for its tests
#   doc       mkdocs for the site, LDoc and Doxygen for the reference
#   rock      luarocks and git
#   cross     compilers for other platforms, and qemu to run what they make
#   ci        formatters, static analysis, valgrind, fuzzing, luarocks, and shells to complete the command in
#
# The checks test capabilities, not names of packages. apt installs packages (Debian, Ubuntu),
# as root or through sudo; nothing is upgraded or removed. On other systems the script only
# prints what is missing, and the names of the packages.
# LEAT_DEPS=check in the environment makes every `install` a `check`.
set -u
PATH=$PATH:/usr/sbin:/sbin # nginx is in one of these, which a user's PATH may lack

usage() {
  sed -n '2,25p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
}

mode=${1:-}
case $mode in check | install) shift ;; *) usage ;; esac
mode=${LEAT_DEPS:-$mode}

wanted='' luas=''
for word in "$@"; do
  case $word in
    build | sandbox | cli | jobs | postgres | test | hosts | nginx | fleet | bench | doc | rock | cross | ci) wanted="$wanted $word" ;;
    lua5.[1-5] | luajit) luas="$luas $word" ;;
    *) usage ;;
  esac
done
[ -n "$wanted" ] || wanted=' build'
[ -n "$luas" ] || luas=' lua5.4'
wants() { case "$wanted " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
has() { command -v "$1" >/dev/null 2>&1; }

# ---- the system ---------------------------------------------------------------------

system=unknown
for tool in apt-get:debian brew:brew apk:alpine dnf:fedora pacman:arch; do
  if has "${tool%:*}"; then
    system=${tool#*:}
    break
  fi
done

missing='' packages=''
# need WHAT DEBIAN BREW ALPINE FEDORA ARCH   ("-": nothing to install there)
need() {
  case "$missing
" in *"
  $1
"*) return ;; esac # two of WHAT may need the same
  missing="$missing
  $1"
  case $system in
    debian) package=$2 ;; brew) package=$3 ;; alpine) package=$4 ;;
    fedora) package=$5 ;; arch) package=$6 ;; *) package=- ;;
  esac
  [ "$package" = - ] && return
  for one in $package; do
    case " $packages " in *" $one "*) ;; *) packages="$packages $one" ;; esac
  done
}

compiler=${CC:-cc}
knows() { has pkg-config && pkg-config --exists "$1" 2>/dev/null; }
# compiles CODE [PKG-CONFIG-NAME]: uses the flags of that package, if pkg-config knows it
compiles() {
  # shellcheck disable=SC2046 # flags are words
  printf '%b\n' "$1" | "$compiler" $(knows "${2:-}" && pkg-config --cflags "$2") \
    -x c -fsyntax-only - >/dev/null 2>&1
}
# library PKG-CONFIG-NAME HEADER CONDITION: whether it is installed and recent enough
library() { has "$compiler" && compiles "#include <$2>\n#if !($3)\n#error too old\n#endif" "$1"; }
trusts() { # whether a file of trusted certificates exists
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [ -s "$file" ] && return 0
  done
  return 1
}
finds() { has luajit && luajit -e "os.exit(package.searchpath('$1', package.path) and 0 or 1)"; } # runs only in nginx
loads() { has "$1" && "$1" -e "require('$2')" >/dev/null 2>&1; }

# Debian 12's nginx needs the package luajit2; later releases have only that LuaJIT, as luajit.
jit=luajit jit_dev=libluajit-5.1-dev
if grep -q '^VERSION_ID="*12' /etc/os-release 2>/dev/null; then
  jit=luajit2 jit_dev=libluajit2-5.1-dev
fi

need_lua() {
  version=${1#lua}
  case $1 in
    luajit)
      has luajit || need luajit "$jit" luajit luajit luajit luajit
      knows luajit || need "LuaJIT's headers" "$jit_dev" - luajit-dev luajit-devel -
      ;;
    *)
      dev=liblua$version-dev
      [ "$version" = 5.1 ] && dev=liblua5.1-0-dev
      has "$1" || need "$1" "$1" lua "$1" lua -
      knows "$1" || knows "lua-$version" || need "the headers of $1" "$dev" - "$1-dev" lua-devel lua
      ;;
  esac
  loads "$1" cjson || need "lua-cjson for $1" lua-cjson - "lua$version-cjson" - -
}

if wants build; then
  has make || need make make make make make make
  { has "$compiler" && compiles '#include <stdio.h>'; } ||
    need "a C compiler" "gcc libc6-dev" gcc build-base gcc gcc
  has pkg-config || need pkg-config pkg-config pkg-config pkgconf pkgconf pkgconf
  library libcurl curl/curl.h 'LIBCURL_VERSION_NUM >= 0x075700' ||
    need "libcurl, 7.87 or later, with headers" libcurl4-openssl-dev curl curl-dev libcurl-devel curl
  trusts || need "certificates to trust" ca-certificates ca-certificates ca-certificates ca-certificates \
    ca-certificates
  for lua in $luas; do need_lua "$lua"; done
fi
if wants sandbox; then
  library libmicrohttpd microhttpd.h 'MHD_VERSION >= 0x00097000' ||
    need "libmicrohttpd, 0.9.70 or later, with headers" libmicrohttpd-dev libmicrohttpd libmicrohttpd-dev \
      libmicrohttpd-devel libmicrohttpd
  library jansson jansson.h 'JANSSON_VERSION_HEX >= 0x020e00' ||
    need "jansson, 2.14 or later, with headers" libjansson-dev jansson jansson-dev jansson-devel jansson
fi
if wants cli; then
  for lua in $luas; do
    loads "$lua" argparse || need "argparse for $lua" lua-argparse - "$lua-argparse" lua-argparse lua-argparse
  done
fi
if wants jobs; then
  library sqlite3 sqlite3.h 'SQLITE_VERSION_NUMBER >= 3035000' ||
    need "SQLite, 3.35 or later, with headers" libsqlite3-dev sqlite sqlite-dev sqlite-devel sqlite
fi
if wants postgres || wants test; then
  library libpq libpq-fe.h 1 || need "libpq, with headers" libpq-dev libpq libpq-dev libpq-devel postgresql-libs
fi
if wants postgres; then
  [ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || has postgres ||
    need "a server of PostgreSQL" postgresql postgresql postgresql postgresql-server postgresql
  has pgbouncer || need pgbouncer pgbouncer pgbouncer pgbouncer pgbouncer pgbouncer
  has openssl || need openssl openssl openssl openssl openssl openssl
  has ip || need "ip, for networks" iproute2 - iproute2 iproute iproute2
fi
if wants test; then
  library gnutls gnutls/gnutls.h 'GNUTLS_VERSION_NUMBER >= 0x030603' ||
    need "GnuTLS, 3.6.3 or later, with headers" libgnutls28-dev gnutls gnutls-dev gnutls-devel gnutls
  for lua in $luas; do
    loads "$lua" busted.runner || need "busted for $lua" lua-busted - - - -
    loads "$lua" socket || need "socket for $lua" lua-socket - - - -
    loads "$lua" openssl.hmac || need "luaossl for $lua" lua-luaossl - - - -
  done
fi
if wants hosts; then
  for lua in $luas; do
    for module in luv:lua-luv cqueues:lua-cqueues socket:lua-socket; do
      loads "$lua" "${module%:*}" || need "${module%:*} for $lua" "${module#*:}" - - - -
    done
    case $lua in lua5.1 | lua5.2 | luajit)
      loads "$lua" copas || need "copas for $lua" lua-copas - - - - ;;
    esac
    [ "$lua" = luajit ] || continue
    has nvim || need Neovim neovim neovim neovim neovim neovim
    has luantiserver || has minetestserver || [ -x /usr/games/minetestserver ] ||
      need "the server of Luanti" minetest-server - - - -
  done
fi
if wants bench; then
  for tool in nginx:nginx-light taskset:util-linux valgrind:valgrind openssl:openssl sqlite3:sqlite3; do
    has "${tool%:*}" || need "${tool%:*}" "${tool#*:}" - - - -
  done
  has lua5.1 || need lua5.1 lua5.1 - - - -
  for module in curl:lua-curl socket.http:lua-socket http.client:lua-http; do
    loads lua5.1 "${module%:*}" || need "${module%:*} for lua5.1" "${module#*:}" - - - -
  done
fi
if wants nginx; then
  need_lua luajit
  has nginx || need nginx nginx-light - - - -
  has curl || need curl curl curl curl curl curl
  has openssl || need openssl openssl - - - -
  [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] ||
    need "nginx's Lua module" libnginx-mod-http-lua - - - -
  for lua in $luas; do
    loads "$lua" socket || need "socket for $lua" lua-socket - - - -
  done
fi
if wants fleet; then
  has redis-server || need "a server of Redis" redis-server redis redis redis redis
  has redis-cli || need redis-cli redis-tools redis redis redis redis
  has luajit || need luajit "$jit" luajit luajit luajit luajit
  finds resty.redis || finds nginx.redis || [ -e /usr/local/openresty/lualib/resty/redis.lua ] ||
    need "a client of Redis for nginx" lua-nginx-redis - - - -
fi
if wants doc; then
  has lua5.1 || need lua5.1 lua5.1 - - - -
  has ldoc || need LDoc lua-ldoc - - - -
  has doxygen || need Doxygen doxygen doxygen doxygen doxygen doxygen
  mkdocs build --help 2>/dev/null | grep -q material || need "mkdocs with the theme material" mkdocs-material - - - -
fi
if wants rock || wants ci; then
  has luarocks || need luarocks luarocks - - - -
  has git || need git git - - - -
fi
if wants cross; then
  for tool in arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu \
    s390x-linux-gnu-gcc:gcc-s390x-linux-gnu musl-gcc:musl-tools qemu-s390x:qemu-user mmdebstrap:mmdebstrap; do
    has "${tool%:*}" || need "${tool%:*}" "${tool#*:}" - - - -
  done
fi
if wants ci; then
  for tool in g++:g++ clang:clang clang-format:clang-format clang-tidy:clang-tidy scan-build:clang-tools cppcheck:cppcheck \
    luacheck:lua-check shellcheck:shellcheck valgrind:valgrind mmdebstrap:mmdebstrap groff:groff-base zsh:zsh \
    fish:fish; do
    has "${tool%:*}" || need "${tool%:*}" "${tool#*:}" - - - -
  done
  printf 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }\n' |
    clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null ||
    need "clang's sanitizers" libclang-rt-14-dev - - - -
fi

[ -n "$missing" ] || exit 0

# ---- reporting and installing -------------------------------------------------------

as_root=
[ "$(id -u)" = 0 ] || [ "$system" = brew ] || as_root='sudo '
flags='-y --no-install-recommends --no-upgrade --no-remove'
case $system in
  debian) command="${as_root}apt-get install $flags$packages" ;;
  brew) command="brew install$packages" ;;
  alpine) command="${as_root}apk add$packages" ;;
  fedora) command="${as_root}dnf install$packages" ;;
  arch) command="${as_root}pacman -S --needed$packages" ;;
  *) command= ;;
esac
{
  echo "Missing:$missing"
  if [ -n "$command" ] && [ -n "$packages" ]; then
    echo "To install:"
    echo "  $command"
  fi
} >&2
[ "$mode" = install ] || exit 1
if [ "$system" != debian ]; then
  echo "This script installs on Debian and Ubuntu only: please install the above yourself." >&2
  exit 1
fi
if [ -n "$as_root" ]; then
  if ! has sudo; then
    echo "You are not root, and there is no sudo: have the command above run as root." >&2
    exit 1
  fi
  if ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
    echo "sudo wants a password, and there is no terminal: run the command above yourself." >&2
    exit 1
  fi
fi

# Runs apt-get without questions; waits for another apt's lock, and passes the proxy through sudo.
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
    ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
    apt-get </dev/null -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -o Acquire::http::Timeout=30 "$@" >&2
}
update() {
  echo "+ ${as_root}apt-get update" >&2
  apt -o APT::Update::Error-Mode=any update && return
  echo "apt-get update failed: is there a network, and are apt's sources right?" >&2
  return 1
}
# shellcheck disable=SC2086 # lists of words
install() { apt install $flags $packages; }

# Package lists that are missing or outdated are fetched again.
updated=
# shellcheck disable=SC2086
if ! apt-cache show $packages >/dev/null 2>&1; then
  update || exit 1
  updated=yes
fi
echo "+ $command" >&2
install && exit 0
[ -z "$updated" ] && update && install
