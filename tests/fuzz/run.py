"""Runs one libFuzzer target on a corpus that grows in the build directory, and says what it did.

run.py TARGET NAME SEEDS CORPUS   with MP_TEST_LONG set for ten minutes, else for some seconds; --seconds N says how long.
The seeds are written by the program SEEDS; what is found stays in CORPUS/NAME, a crash also as CORPUS/NAME-crash-*.
"""
import argparse
import os
import re
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target"), parser.add_argument("name"), parser.add_argument("seeds"), parser.add_argument("corpus")
    parser.add_argument("--seconds", type=int, default=600 if os.environ.get("MP_TEST_LONG") else 8)
    arguments = parser.parse_args()

    subprocess.run([arguments.seeds, arguments.corpus], check=True)
    folder = os.path.join(arguments.corpus, arguments.name)
    os.makedirs(folder, exist_ok=True)
    # 8 MB is FAULTS row 54's bound for one request; inputs are at most 64 KiB.
    done = subprocess.run([arguments.target, folder, "-max_total_time=%d" % arguments.seconds, "-max_len=65536",
                           "-malloc_limit_mb=8", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1",
                           "-artifact_prefix=" + folder + "-"], capture_output=True, text=True, errors="replace")
    executed = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    print("figure: fuzz %s: %s inputs in %d s, %s edges, %s" %
          (arguments.name, executed.group(1) if executed else "?", arguments.seconds,
           coverage[-1] if coverage else "?", "no finding" if done.returncode == 0 else "A FINDING"))
    if done.returncode != 0:
        print(done.stderr[-8000:])
    print("tally: %d passed, %d failed" % ((1, 0) if done.returncode == 0 else (0, 1)))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
