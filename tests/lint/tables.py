"""The tables of tests/: python-tests.md (CPython's tests and ours), faults.md (the fault matrix and ours), and the names of our tests.

Rows are "| .. | .. | our test, or: not here, and why |". A name in backquotes must be the name of a test.
"""
import re
import sys

import common

# CPython 3.11: class -> test methods, as in Lib/test/_test_multiprocessing.py.
PYTHON = {
    "_TestProcess": "current set_executable args_argument daemon_argument parent_process_attributes parent_process process "
                    "process_mainthread_native_id terminate kill cpu_count active_children recursion sentinel close many_processes "
                    "lose_target_ref child_fd_inflation wait_for_threads error_on_stdio_flush_1 error_on_stdio_flush_2 "
                    "forkserver_sigint forkserver_sigkill",
    "_TestQueue": "put get fork qsize task_done no_import_lock_contention timeout queue_feeder_donot_stop_onexc "
                  "queue_feeder_on_queue_feeder_error closed_queue_put_get_exceptions",
    "_TestConnection": "connection duplex_false spawn_close sendbytes fd_transfer large_fd_transfer missing_fd_transfer context",
    "_TestPoll": "empty_string strings boundaries dont_merge",
    "_TestPicklingConnections": "pickling access",
    "_TestPollEintr": "poll_eintr",
    "TestInvalidHandle": "invalid_handles",
    "TestStdinBadfiledescriptor": "queue_in_process pool_in_process flushing",
    "TestWait": "wait wait_socket wait_slow wait_socket_slow wait_timeout wait_integer neg_timeout",
    "TestNoForkBomb": "noforkbomb",
    "TestCloseFds": "closefd",
    "TestIgnoreEINTR": "ignore ignore_listener",
    "TestStartMethod": "context context_check_module_types set_get get_all preload_resources mixed_startmethod nested_startmethod",
    "TestSimpleQueue": "empty close closed",
}
# The rows of the fault matrix that floors 0 to 4 must survive.
FAULTS = [*range(1, 7), *range(14, 17), *range(18, 43), 45, 46, 50, *range(53, 59), 62, 63, *range(73, 78), 79, 81, 82, 85, 87, 90, 91]

STRING = r'"((?:\\.|[^"\\])*)"'
CASE = re.compile(r"\b(?:TEMPLATE_(?:LIST_|PRODUCT_)?)?TEST_CASE(?:_METHOD)?\s*\((?:\s*[\w:]+\s*,)?\s*((?:%s\s*)+)" % STRING)


def test_names(files):
    """All Catch2 names and all names of lints' and scripts' checks that tables may point at."""
    names = []
    for path, text in files.items():
        if path.startswith("tests/") and path.endswith((".cpp", ".hpp")):
            names += ["".join(re.findall(STRING, m.group(1))) for m in CASE.finditer(text)]
    return names


def programs(files):
    """Test programs with a main of their own are named "program NAME"."""
    return ["program " + n for p, t in files.items() if p.startswith("tests/") and p.endswith("meson.build")
            for n in re.findall(r"'name' : '(\w+)'", t)]


def rows(text):
    return [[c.strip() for c in line.strip().strip("|").split("|")] for line in text.splitlines()
            if line.startswith("|") and not re.match(r"\|[\s:|-]+$", line)][1:]


def check_cell(where, cell, names):
    named = re.findall(r"`([^`]+)`", cell)
    complaints = ["%s names a test that is not there: %s" % (where, n) for n in named if n not in names]
    if not named and not re.match(r"not here: \S.{10,}", cell):
        complaints.append("%s has neither a test nor 'not here: why'" % where)
    return complaints


def check_python(files):
    names, complaints, seen = set(test_names(files) + programs(files)), [], set()
    for row in rows(files.get("tests/python-tests.md", "")):
        if len(row) != 3:
            complaints.append("a row has not three cells: %s" % row)
            continue
        key = (row[0].strip("`"), row[1].strip("`"))
        if key in seen:
            complaints.append("%s.%s stands twice" % key)
        seen.add(key)
        complaints += check_cell("%s.%s" % key, row[2], names)
    wanted = {(c, "test_" + m) for c, ms in PYTHON.items() for m in ms.split()}
    complaints += ["%s.%s has no row" % k for k in sorted(wanted - seen)]
    return complaints + ["%s.%s is no test of CPython 3.11's" % k for k in sorted(seen - wanted)]


def check_faults(files):
    names, complaints, seen = set(test_names(files) + programs(files)), [], set()
    for row in rows(files.get("tests/faults.md", "")):
        if len(row) != 3 or not row[0].isdigit():
            complaints.append("a row is not | number | fault | tests |: %s" % row)
            continue
        if int(row[0]) in seen:
            complaints.append("row %s stands twice" % row[0])
        seen.add(int(row[0]))
        complaints += check_cell("row " + row[0], row[2], names)
    return complaints + ["row %d is missing" % r for r in FAULTS if r not in seen]


def check_names(files):
    """Names are promises: "<noun>: <what holds>", none twice."""
    names = test_names(files)
    complaints = ["not of the form 'noun: what holds': " + n for n in names if not re.match(r"^[A-Za-z_][\w &/:<>,-]*?: \S", n)]
    return complaints + ["stands twice: " + n for n in sorted({n for n in names if names.count(n) > 1})]


def main():
    files = common.project_files(".cpp", ".hpp", ".md", "meson.build", under=("tests",))
    checks = common.Checks("tables")
    case = 'TEST_CASE("process: ends", "[process]") {}\n'
    full = "| c | m | t |\n|---|---|---|\n" + "".join("| %s | test_%s | `process: ends` |\n" % (c, m) for c, ms in PYTHON.items() for m in ms.split())
    checks.run("a whole table passes", lambda: check_python({"tests/a.cpp": case, "tests/python-tests.md": full}))
    checks.lint("python-tests.md maps every test of CPython's to ours", check_python, files, [
        ({"tests/a.cpp": case, "tests/python-tests.md": full.replace("test_kill ", "test_kilt ")}, "_TestProcess.test_kill has no row"),
        ({"tests/a.cpp": case.replace("ends", "begins"), "tests/python-tests.md": full}, "names a test that is not there"),
        ({"tests/a.cpp": case, "tests/python-tests.md": full.replace("`process: ends`", "later", 1)}, "has neither a test")])
    checks.lint("faults.md maps every row to our tests", check_faults, files, [
        ({"tests/faults.md": "| # | f | t |\n|---|---|---|\n| 1 | x | `nowhere: y` |\n"}, "names a test that is not there"),
        ({"tests/faults.md": ""}, "row 91 is missing")])
    checks.lint("names of tests are promises, none twice", check_names, files, [
        {"tests/a.cpp": 'TEST_CASE("testQueue", "[q]")'}, {"tests/a.cpp": case + case}])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
