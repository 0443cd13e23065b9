#!/bin/sh
# Tests the core without I/O on other platforms: 32 bits, unsigned char, big-endian, another C library.
#   sh spec/support/platforms.sh [armhf | arm64 | s390x | musl]...
# The programs run under qemu, with Debian's libraries for the platform in build/PLATFORM/system.
set -eu
cd "$(dirname "$0")/../.."
# Without jansson, which Debian has for no other C library, there is no json_test or model_test.
without_jansson="attempts call counts http1 memory policy retry times token"

run_tests() { # run_tests PLATFORM "TEST..." VARIABLE=VALUE...
  build=build/$1 programs=''
  for test in $2; do programs="$programs $build/test/${test}_test"; done
  shift 2
  # PKG_CONFIG=: because pkg-config knows the libraries of this machine only.
  make -s BUILD="$build" PKG_CONFIG=: "$@" test-core CORE_TESTS="$programs"
}

cross() { # cross DEBIAN'S-NAME COMPILER'S-NAME QEMU'S-NAME
  system=$PWD/build/$1/system
  # The main archive alone: security updates are not there for all platforms at the same time.
  # shellcheck disable=SC2016 # apt replaces it
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
  if [ ! -d "$system" ]; then
    rm -rf "$system.part" && mkdir -p "build/$1"
    mmdebstrap --quiet --variant=extract --architectures="$1" \
      --include=libcurl4-openssl-dev,libgnutls28-dev,libjansson-dev,libmicrohttpd-dev \
      bookworm "$system.part" "$mirror"
    mv "$system.part" "$system"
  fi
  run_tests "$1" "$without_jansson json model" CC="$2-gcc --sysroot=$system" AR="$2-ar" RUN_TEST="qemu-$3 -L $system"
}

[ $# != 0 ] || set -- armhf arm64 s390x musl
for platform; do
  echo "$platform:"
  case $platform in
    armhf) cross armhf arm-linux-gnueabihf arm ;;
    arm64) cross arm64 aarch64-linux-gnu aarch64 ;;
    s390x) cross s390x s390x-linux-gnu s390x ;;
    musl) run_tests musl "$without_jansson" CC=musl-gcc CURL_OBJ= TEST_OBJ=build/musl/test/http_cases.o TEST_LIBS= ;;
    *) echo "platforms: there is no $platform" && exit 2 ;;
  esac
done
