"""Runs libmp, peers and limits by turns for ./bench/run, prints a table, and writes the figures as JSON.

A ratio is libmp's figure divided by the other's in the same round; the median over the rounds is printed. The machine
changes from minute to minute, so figures of different runs must not be compared, and ratios of one round can.
"""
import argparse
import collections
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from cases import CASES, why_missing

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PATIENCE = 300  # s for one program: a guard, far above what any takes
MOST_STOLEN = 0.0025  # of the processors' time: a tick of /proc/stat in a run of two seconds on two processors
QUIET_TRIES = 12
MORE_RANKS_THAN_CORES = ("--mca", "mpi_yield_when_idle", "1")  # else who waits keeps the processor from who works

# Figures of one program in one round: (case, who, metric) -> value.
Identity = collections.namedtuple("Identity", "case who metric")


class Results:
    def __init__(self):
        self.values = collections.defaultdict(dict)  # Identity -> {round: value}
        self.about = {}  # Identity -> (kind, unit, waits)
        self.stolen = collections.defaultdict(float)  # case -> the most that the host took in a run that counts
        self.failed = []
        self.missing = {}

    def add(self, round_number, line):
        case, who, kind, metric, value, unit, waits = line.split("\t")
        identity = Identity(case, who, metric)
        self.values[identity][round_number] = float(value)
        self.about[identity] = (kind, unit, waits)

    def of(self, case, metric, kind=None, who=None):
        return [i for i in self.values if i.case == case and i.metric == metric
                and (kind is None or self.about[i][0] == kind) and (who is None or i.who == who)]


def command_of(program, build):
    if program.file.endswith(".py"):
        return [sys.executable, os.path.join(HERE, program.file), *program.arguments]
    if program.file.endswith(".js"):
        return ["node", os.path.join(HERE, program.file), *program.arguments]
    if program.file.endswith(".erl"):
        return ["erl", "-noshell", "-eval", 'F = "%s", {ok, M, B} = compile:file(F, [binary]), {module, M} = '
                'code:load_binary(M, F, B), M:main(F, "%s"), halt().' % (os.path.join(HERE, program.file),
                                                                         *program.arguments)]
    command = [os.path.join(build, program.file), *program.arguments]
    if program.ranks:
        # Some fresh machines have no ssh, which mpirun looks for although one machine needs none.
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--mca", "plm", "isolated",
                   *(MORE_RANKS_THAN_CORES if program.ranks > len(os.sched_getaffinity(0)) else ()),
                   "-np", str(program.ranks), *command]
    return command


def on_cores(cores):
    return lambda: os.sched_setaffinity(0, cores)


def lines_of(program, case, build):
    """Runs the program; gives its lines of figures. Raises RuntimeError with what it said."""
    if program.file == "meson.build":
        return [time_of_build(case)]
    if program.file.endswith(".cpp"):
        return [time_of_compilation(program, case)]
    last_core = {max(os.sched_getaffinity(0))}
    try:
        done = subprocess.run(command_of(program, build), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, preexec_fn=on_cores(last_core) if program.one_core else None,
                              env=dict(os.environ, ERL_CRASH_DUMP_SECONDS="0"))  # no file left in the user's folder
    except subprocess.TimeoutExpired:
        raise RuntimeError("took longer than %d s" % PATIENCE) from None
    lines = [line for line in done.stdout.splitlines() if line.count("\t") == 6]
    if done.returncode != 0 or not lines:
        said = (done.stderr.strip().splitlines() or ["no word on stderr"])[-1]
        raise RuntimeError("ended with code %d: %s" % (done.returncode, said))
    return lines


def processor_ticks():
    """All that the processors have had, and what of it a hypervisor gave to somebody else."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(text) for text in file.readline().split()[1:9]]
    return sum(ticks), ticks[7]


def quiet_lines_of(program, case, build):
    """The lines of the first run that the host left alone, else of the one it took least from; and what it took. What it
    takes is known without a look at the figures, so no program gets other runs than it would have had alone."""
    least = None
    for _ in range(QUIET_TRIES if case.is_tail else 1):
        before = processor_ticks()
        lines = lines_of(program, case, build)
        after = processor_ticks()
        stolen = (after[1] - before[1]) / max(1, after[0] - before[0])
        if least is None or stolen < least[1]:
            least = lines, stolen
        if stolen <= MOST_STOLEN:
            break
    return least


def timed(*commands, cores=None):
    """Seconds that the commands take, one after the other, without a compiler cache."""
    environment = dict(os.environ, CCACHE_DISABLE="1")
    began = time.monotonic()
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True,
                              preexec_fn=on_cores(cores) if cores else None)
        if done.returncode != 0:
            raise RuntimeError("%s failed: %s" % (command[0], (done.stderr or done.stdout).strip().split("\n")[0]))
    return time.monotonic() - began


def time_of_compilation(program, case):
    includes = ["-I" + os.path.join(TOP, part, "include") for part in ("libmp", "actors")]
    source = os.path.join(HERE, program.file)
    took = timed([os.environ.get("CXX", "g++"), "-std=c++20", "-O2", *includes, "-c", source, "-o", os.devnull])
    return "\t".join([case.name, "libmp", "libmp", "time", "%.3f" % took, "s", "-"])


def time_of_build(case):
    directory = tempfile.mkdtemp(prefix="bench-build-")
    cores = set(sorted(os.sched_getaffinity(0))[:2])
    try:
        took = timed(["meson", "setup", directory, TOP, "-Dtests=false", "-Dsamples=true", "-Dbench=false"],
                     ["ninja", "-C", directory, "-j", "2"], cores=cores)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return "\t".join([case.name, "libmp", "libmp", "time", "%.1f" % took, "s", "-"])


def measure(cases, rounds, build):
    results = Results()
    for number in range(rounds):
        for case in cases:
            if number >= case.at_most_rounds:
                continue
            # Whoever comes first has another state of the machine before it: take turns at that, too.
            turn = number % len(case.programs)
            for program in case.programs[turn:] + case.programs[:turn]:
                reason = why_missing(program, build)
                if reason:
                    results.missing[program.file] = reason
                    continue
                progress("round %d of %d: %s, %s" % (number + 1, rounds, case.title, program.file))
                try:
                    lines, stolen = quiet_lines_of(program, case, build)
                    for line in lines:
                        results.add(number, line)
                    if case.is_tail:
                        results.stolen[case.name] = max(stolen, results.stolen[case.name])
                except RuntimeError as error:
                    results.failed.append("%s %s: %s" % (program.file, case.name, error))
    progress("")
    return results


def progress(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text[:shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)


def number(value):
    """Four digits, thousands apart."""
    if abs(value) >= 1e6:
        return "{:,.2f} M".format(value / 1e6)
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "%.3g" % value if abs(value) >= 0.001 or value == 0 else "%.1e" % value


def best_of(results, case, metric, kind):
    """Per round the best figure of a kind."""
    best, pick = {}, min if case.better == "lower" else max
    for identity in results.of(case.name, metric, kind=kind):
        for at, value in results.values[identity].items():
            best[at] = pick(best[at], value) if at in best else value
    return best


def median_ratio(mine, other):
    ratios = [mine[at] / other[at] for at in mine if other.get(at)]
    return statistics.median(ratios) if ratios else None


def against(results, case, goal, metric):
    """Figures a goal compares with: {round: value}."""
    if goal.against == "best peer":
        return best_of(results, case, metric, "peer")
    found = results.of(case.name, metric, kind="limit") if goal.against == "limit" else \
        results.of(case.name, metric, who=goal.against)
    return results.values[found[0]] if found else {}


def goal_row(results, case, goal, metric, mine):
    ratio = statistics.median(mine.values()) if goal.against is None else \
        median_ratio(mine, against(results, case, goal, metric))
    sign = "<=" if case.better == "lower" else ">="
    if ratio is None:
        return (goal.against, "-", "%s %.3g" % (sign, goal.bound), "?")
    reached = ratio <= goal.bound if case.better == "lower" else ratio >= goal.bound
    return (goal.against or "", "" if goal.against is None else "%.2f" % ratio, "%s %.3g" % (sign, goal.bound),
            "yes" if reached else "NO")


def table(results, cases):
    rows = [("case", "libmp", "other", "its figure", "ratio", "goal", "reached")]
    for case in cases:
        for metric, unit in case.metrics:
            mine_is = results.of(case.name, metric, who="libmp")
            if not mine_is and not results.of(case.name, metric):
                continue
            mine = results.values[mine_is[0]] if mine_is else {}
            title = case.title if metric == case.metrics[0][0] and len(case.metrics) == 1 else \
                "%s: %s" % (case.title, metric)
            figure = "%s %s" % (number(statistics.median(mine.values())), unit) if mine else "-"
            goals = [g for g in case.goals if (g.metric or case.metrics[0][0]) == metric]
            head = [title, figure]
            for goal in [g for g in goals if g.against is None]:
                other, ratio, bound, reached = goal_row(results, case, goal, metric, mine) if mine else ("", "-", "", "?")
                rows.append((*head, other, "", ratio, bound, reached))
                head = ["", ""]
            others = [i for kind in ("limit", "peer", "means") for i in results.of(case.name, metric, kind=kind)]
            peers = results.of(case.name, metric, kind="peer")
            for identity in others:
                value = statistics.median(results.values[identity].values())
                ratio = median_ratio(mine, results.values[identity]) if mine else None
                kind = results.about[identity][0]
                fits = [g for g in goals if g.against in (kind, identity.who)
                        or (g.against == "best peer" and peers == [identity])]
                _, _, bound, reached = goal_row(results, case, fits[0], metric, mine) if fits else ("", "", "", "")
                rows.append((*head, "%s (%s)" % (identity.who, kind), "%s %s" % (number(value), unit),
                             "-" if ratio is None else "%.2f" % ratio, bound, reached))
                head = ["", ""]
            for goal in [g for g in goals if g.against == "best peer" and len(peers) != 1]:
                other, ratio, bound, reached = goal_row(results, case, goal, metric, mine)
                rows.append((*head, "best peer of each round", "", ratio, bound, reached))
                head = ["", ""]
            if head[0]:
                rows.append((*head, "", "", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.rjust(width) if column in (1, 3, 4) else text.ljust(width)
                        for column, (text, width) in enumerate(zip(row, widths))).rstrip())


def first_line(*command):
    try:
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "%s, %d processors, %.0f GiB, Linux %s, %s" % (
        model, len(os.sched_getaffinity(0)), memory, platform.release(),
        first_line(os.environ.get("CXX", "g++"), "--version"))


def commit():
    if not shutil.which("git"):
        return "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=TOP, capture_output=True).returncode == 1
    return first_line("git", "rev-parse", "HEAD") + (" with changes" if changed else "")


def rows_of(results, cases):
    better = {case.name: case.better for case in cases}
    rows = []
    for identity, by_round in results.values.items():
        kind, unit, waits = results.about[identity]
        rows.append({"case": identity.case, "metric": identity.metric, "unit": unit, "better": better[identity.case],
                     "who": identity.who, "kind": kind, "waits": waits, "rounds": len(by_round),
                     "median": statistics.median(by_round.values()), "min": min(by_round.values()),
                     "max": max(by_round.values())})
    return rows


def main():
    parser = argparse.ArgumentParser(prog="./bench/run", description="Measures libmp beside its peers and limits.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs (5)")
    parser.add_argument("--case", metavar="TEXT", help="only cases whose name or title holds this text")
    parser.add_argument("--quick", action="store_true", help="one round: does everything run?")
    parser.add_argument("--build", action="store_true", help="also time a clean build of library and samples (minutes)")
    parser.add_argument("--json", metavar="FILE", help="write the figures of all programs")
    parser.add_argument("--list", action="store_true", help="name the cases and run nothing")
    parser.add_argument("--binaries", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    wanted = [case for case in CASES if not arguments.case or arguments.case in case.name or arguments.case in case.title]
    if arguments.list:
        for case in CASES:
            print("%-22s %s%s" % (case.name, case.title, " (with --build)" if case.slow else ""))
        return 0
    if not wanted:
        parser.error("no case holds %r; there are: %s" % (arguments.case, " ".join(c.name for c in CASES)))
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")

    wanted = [case for case in wanted if not case.slow or arguments.build]
    began = time.monotonic()
    busy = os.getloadavg()[0]
    results = measure(wanted, 1 if arguments.quick else arguments.rounds, os.path.join(arguments.binaries, "bench"))
    table(results, wanted)
    print("\n%s\nmedians of %d alternating rounds; ratio: libmp / other, median of the rounds' ratios; took %.0f s"
          % (machine(), 1 if arguments.quick else arguments.rounds, time.monotonic() - began))
    if busy > 0.5:
        print("something else was running when this began (load %.1f): the figures are rough" % busy)
    for name, stolen in results.stolen.items():
        if stolen > MOST_STOLEN:
            print("%s: the host took up to %.1f %% of the processors from runs that count: the tail is its own"
                  % (name, 100 * stolen))
    for file, reason in sorted(results.missing.items()):
        print("skipped: %s (%s)" % (file, reason))
    for text in results.failed:
        print("failed: " + text)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"machine": machine(), "commit": commit(), "rows": rows_of(results, wanted)}, out, indent=1)
            out.write("\n")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
