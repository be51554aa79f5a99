"""Builds and runs the tests for ./tests/run, adds up what they say, and prints "N passed, N failed" last.

A test program ends its output with "tally: P passed, F failed"; one that does not (it crashed, hung or is no Catch2
program) counts as one test. Lines "figure: .." and "skipped: .." are shown.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = ["unit", "conformance", "process", "actors", "fault", "fuzz", "lint", "samples"]
# name -> (compiler, meson options, suites that run in it, multiplier of time limits)
BUILDS = {
    "plain": ("", ["-Dsamples=true"], [suite for suite in SUITES if suite != "fuzz"], 1),
    # The sanitizer builds go without groups of sources and without the precompiled header: each source includes what it needs.
    "address": ("clang++-19", ["-Dsamples=false", "-Dbench=false", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                               "-Dunity=off", "-Db_pch=false",
                               "-Doptimization=0", "-Db_ndebug=false", "-Ddefault_library=static"],
                ["unit", "conformance", "process", "actors", "fuzz"], 3),
    "thread": ("clang++-19", ["-Dsamples=false", "-Dbench=false", "-Db_sanitize=thread", "-Db_lundef=false",
                              "-Dunity=off", "-Db_pch=false",
                              "-Doptimization=0", "-Db_ndebug=false", "-Ddefault_library=static"],
               ["unit", "conformance"], 3),
}
# Programs of the suite unit that run under valgrind, too: those that start no process. Debian 12's valgrind (3.19) lacks
# the calls for pidfds, and raw forks in it are slow. Seconds for all of them; what does not fit is skipped by name.
MEMCHECK = ["frame", "session", "queue", "connection", "wait", "async", "future", "remote_error", "codec_traits",
            "codec_values"]
MEMCHECK_SECONDS = 75
SUPPRESSIONS = os.path.join(TOP, "tests", "support", "tsan.supp")
TALLY = re.compile(r"^tally: (\d+) passed, (\d+) failed$", re.M)


class Totals:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.broken = []  # what failed, for the end: (name, its last words)

    def add(self, name, passed, failed, words=()):
        self.passed += passed
        self.failed += failed
        if failed:
            self.broken.append((name, words))


def prepare(name, suites):
    """Configures one build and builds what the suites need; says whether it worked."""
    compiler, options, _, _ = BUILDS[name]
    directory = os.path.join(TOP, "build", "tests-" + name)
    environment = dict(os.environ, top=TOP)
    if compiler:
        environment["CXX"] = compiler

    def setup(what, *words):
        script = '. "$top/.setup/common.sh"; ' + what + ' "$@"'
        return subprocess.run(["bash", "-euc", script, "setup", directory, *words], env=environment).returncode == 0

    if not setup("configure", "-Dtests=true", *options):
        return None
    # The tests of the plain build want everything, the installed library too; a sanitizer build has some suites only.
    return directory if setup("build", *([] if name == "plain" else targets_of(directory, suites))) else None


def targets_of(directory, suites):
    subprocess.run(["ninja", "-C", directory, "build.ninja"], capture_output=True)  # the list is as old as that

    def introspect(what):
        return json.loads(subprocess.run(["meson", "introspect", "--" + what, directory], capture_output=True, check=True).stdout)

    files = {target["id"]: target["filename"] for target in introspect("targets")}
    wanted = {one for test in introspect("tests") if {s.split(":")[-1] for s in test["suite"]} & set(suites)
              for one in test["depends"]}
    return sorted(os.path.relpath(path, directory) for one in wanted for path in files.get(one, []))


def read_log(directory):
    """What the last meson test wrote: one entry a program."""
    path = os.path.join(directory, "meson-logs", "testlog.json")
    with open(path, encoding="utf-8", errors="replace") as log:
        return [json.loads(line) for line in log if line.strip()]


def run(name, directory, suites, arguments, totals):
    factor = BUILDS[name][3] * (20 if arguments.long else 1)
    environment = dict(os.environ, MP_TEST_BUILD=name)
    if arguments.long:
        environment["MP_TEST_LONG"] = "1"
    if name == "thread":
        environment["TSAN_OPTIONS"] = (
            # The I/O thread is joined with a deadline, which this sanitizer does not know for a join.
            "halt_on_error=0:second_deadlock_stack=1:report_thread_leaks=0:suppressions=" + SUPPRESSIONS)
    for suite in suites:
        command = ["meson", "test", "-C", directory, "--no-rebuild", "--suite", suite, "-t", str(factor)]
        if arguments.filter:
            command.append("--test-args=*%s*" % arguments.filter)
        log = os.path.join(directory, "meson-logs", "testlog.json")
        if os.path.exists(log):
            os.remove(log)
        began = time.monotonic()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not os.path.exists(log):
            continue  # nothing of this suite in this build
        for entry in read_log(directory):
            report("%s: %s" % (name, entry["name"].split(" / ")[-1]), suite, entry, totals)
        if suite == "unit" and name == "plain" and not arguments.filter:
            memcheck(directory, totals, MEMCHECK_SECONDS * (10 if arguments.long else 1))
        print("   suite %s took %.0f s" % (suite, time.monotonic() - began), flush=True)


def memcheck(directory, totals, seconds):
    """Runs what starts no process under valgrind; an error that it finds fails the program."""
    if not shutil.which("valgrind"):
        print("     skipped: memcheck: there is no valgrind, and it could not be installed", flush=True)
        return
    end = time.monotonic() + seconds
    for program in MEMCHECK:
        path = os.path.join(directory, "tests", "test_" + program)
        left = end - time.monotonic()
        if left < 1:
            print("     skipped: memcheck: %s: %d s are over" % (program, seconds), flush=True)
            continue
        began = time.monotonic()
        try:
            done = subprocess.run(["valgrind", "--quiet", "--error-exitcode=77", "--num-callers=30", path],
                                  capture_output=True, text=True, errors="replace", timeout=left)
        except subprocess.TimeoutExpired:
            print("     skipped: memcheck: %s: %d s are over" % (program, seconds), flush=True)
            continue
        entry = {"stdout": done.stdout, "stderr": done.stderr, "result": "OK" if done.returncode == 0 else "FAIL",
                 "returncode": done.returncode, "duration": time.monotonic() - began}
        report("plain: memcheck " + program, "unit", entry, totals)


def report(title, suite, entry, totals):
    out, err = entry.get("stdout") or "", entry.get("stderr") or ""
    well = entry["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    tally = TALLY.findall(out)
    passed, failed = (int(tally[-1][0]), int(tally[-1][1])) if tally else (int(well), 0)
    if not well and failed == 0:
        failed = 1  # it crashed, hung, or a sanitizer spoke
    lines = (out + "\n" + err).splitlines()
    totals.add(title, passed, failed, findings(lines))
    print("%-4s %s (%s): %d passed, %d failed, %.1f s"
          % ("ok" if failed == 0 else "FAIL", title, suite, passed, failed, entry.get("duration", 0)), flush=True)
    for line in out.splitlines():
        if line.startswith(("figure: ", "skipped: ")):
            print("     " + line, flush=True)
    if failed:
        print("     result: %s, exit code %s" % (entry["result"], entry.get("returncode")))
        for line in lines[-120:]:
            print("     | " + line)
        sys.stdout.flush()


def findings(lines):
    """The few lines that tell what failed: what stands around the first failed checks, else the end of the output."""
    first = [i for i, line in enumerate(lines) if re.search(r"FAILED:$|runtime error:|==ERROR:|WARNING: ThreadSanitizer", line)][:3]
    return [line for i in first for line in lines[max(i - 5, 0):i + 14]] or lines[-15:]


def main():
    parser = argparse.ArgumentParser(prog="./tests/run", description="Builds and runs the tests.")
    parser.add_argument("--suite", choices=SUITES, help="one suite; of the plain build, but fuzz, which needs clang and the address sanitizer")
    parser.add_argument("--filter", help="only test cases whose name holds this text")
    parser.add_argument("--sanitize", choices=["address", "thread"], help="one sanitizer build alone")
    parser.add_argument("--long", action="store_true", help="the long forms, too")
    parser.add_argument("--plain", action="store_true", help="no sanitizer builds")
    arguments = parser.parse_args()

    if arguments.sanitize:
        builds = [arguments.sanitize]
    elif arguments.suite:
        builds = [name for name in BUILDS if arguments.suite in BUILDS[name][2]][:1]
    elif arguments.filter or arguments.plain:
        builds = ["plain"]
    else:
        builds = list(BUILDS)
    totals = Totals()
    began = time.monotonic()
    for name in builds:
        print("== %s build" % name, flush=True)
        suites = [arguments.suite] if arguments.suite else BUILDS[name][2]
        directory = prepare(name, suites)
        if not directory:
            totals.add("the %s build" % name, 0, 1)
            continue
        run(name, directory, suites, arguments, totals)
    print("took %.0f s" % (time.monotonic() - began))
    if totals.passed + totals.failed == 0:
        print("nothing was run")
        totals.failed = 1
    for title, words in totals.broken:
        print("failed: " + title)
        for line in words:
            print("     | " + line)
    print("%d passed, %d failed" % (totals.passed, totals.failed), flush=True)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
