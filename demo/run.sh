#!/bin/sh
# Lets demo/crash.c crash and prints its stacks: run.sh UNSPOOL
#
# Where there is no compiler, or no core to be had, a core of the same kind that comes with
# the tests is shown instead. Ends well if unspool gave an answer.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
case $1 in /*) unspool=$1 ;; *) unspool=$PWD/$1 ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/unspool-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Functions below give their answer on standard output; what people read goes to 3.
exec 3>&1
say() { printf '%s\n' "$*" >&3; }

# Prints the stacks of a core. Code 1 means that part of an answer is missing, not failure.
stack() {
    say "\$ unspool $*"
    say ""
    code=0
    "$unspool" "$@" || code=$?
    [ "$code" -le 1 ] || { say "demo: unspool ended with code $code"; exit "$code"; }
}

find_compiler() {
    for compiler in cc gcc clang tcc; do
        command -v "$compiler" >/dev/null && printf '%s\n' "$compiler" && return
    done
    say "demo: no C compiler here"
    return 1
}

# Makes the program in a directory of its own: compilers record where a source was.
compile() {
    compiler=$(find_compiler) || return 1
    mkdir "$work/demo" && cd "$work/demo" && cp "$here/crash.c" .
    say "\$ $compiler -g -O2 -pthread crash.c -o crash"
    "$compiler" -g -O2 -pthread crash.c -o crash >&3 2>&3 || {
        say "demo: the compiler makes no programs"
        return 1
    }
}

# A core as the kernel writes it, into the working directory unless root chose otherwise.
kernel_core() {
    say '$ ./crash'
    (ulimit -c unlimited && ./crash) >/dev/null 2>&1 || true
    for core in core*; do
        [ -s "$core" ] && printf '%s\n' "$core" && return
    done
    say "demo: the kernel wrote no core here (core_pattern: $(cat /proc/sys/kernel/core_pattern))"
    return 1
}

gdb_core() {
    command -v gdb >/dev/null || return 1
    say '$ gdb -batch -ex run -ex "generate-core-file core" -ex kill ./crash'
    gdb -batch -nx -iex 'set debuginfod enabled off' -ex run \
        -ex 'generate-core-file core' -ex kill ./crash </dev/null >/dev/null 2>&1 || true
    [ -s core ] && echo core
}

if compile && core=$(kernel_core || gdb_core); then
    stack "$core"
else
    say "demo: showing a core that was made before"
    cd "$here/.."
    stack demo/bundled/crash.core.xz --symbols demo/bundled
fi
