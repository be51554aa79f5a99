"""The tables of tests/: python-tests.md (CPython's tests and ours), faults.md (the fault matrix and ours), and the names of our tests.

Rows are "| .. | .. | our test, or: not here, and why |". A name in backquotes must be the name of a test.
"""
import re
import sys

import common

# CPython 3.11: class -> test methods, as in Lib/test/_test_multiprocessing.py; of executors 3.13.
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
    "_TestPool": "apply map starmap starmap_async map_async map_async_callbacks map_unplicklable map_chunksize "
                 "map_handle_iterable_exception async async_timeout imap imap_handle_iterable_exception imap_unordered "
                 "imap_unordered_handle_iterable_exception make_pool terminate empty_iterable context traceback "
                 "wrapped_exception map_no_failfast release_task_refs enter resource_warning",
    "_TestPoolWorkerErrors": "async_error_callback unpickleable_result",
    "_TestPoolWorkerLifetime": "pool_worker_lifetime pool_worker_lifetime_early_close pool_maxtasksperchild_invalid "
                               "worker_finalization_via_atexit_handler_of_multiprocessing",
    "TestPoolNotLeakOnFailure": "release_unused_processes",
    "TestInitializers": "manager_initializer pool_initializer",
    # CPython 3.13, Lib/test/test_concurrent_futures: what runs for processes.
    "ExecutorTest": "submit submit_keyword map map_exception map_timeout shutdown_race_issue12456 no_stale_references "
                    "max_workers_negative free_reference",
    "AsCompletedTests": "no_timeout future_times_out duplicate_futures free_reference_yielded_future correct_timeout_exception_msg",
    "FutureTests": "done_callback_with_result done_callback_with_exception done_callback_with_cancel done_callback_raises "
                   "done_callback_already_successful done_callback_already_failed done_callback_already_cancelled "
                   "done_callback_raises_already_succeeded repr cancel cancelled done running result_with_timeout "
                   "result_with_success result_with_cancel exception_with_timeout exception_with_success "
                   "multiple_set_result multiple_set_exception",
    "WaitTests": "20369 first_completed first_completed_some_already_completed first_exception "
                 "first_exception_some_already_complete first_exception_one_already_failed all_completed timeout",
    "InitializerMixin": "initializer",
    "FailingInitializerMixin": "initializer",
    "FailingInitializerResourcesTest": "spawn forkserver",
    "ProcessPoolExecutorTest": "max_workers_too_large killed_child map_chunksize traceback ressources_gced_in_workers saturation "
                               "idle_process_reuse_one idle_process_reuse_multiple max_tasks_per_child "
                               "max_tasks_per_child_defaults_to_spawn_context max_tasks_early_shutdown python_finalization_error",
    "ExecutorShutdownTest": "run_after_shutdown interpreter_shutdown submit_after_interpreter_shutdown hang_issue12364 "
                            "cancel_futures hang_gh83386 hang_gh94440",
    "ProcessPoolShutdownTest": "processes_terminate context_manager_shutdown del_shutdown shutdown_no_wait",
    "ExecutorDeadlockTest": "error_at_task_pickle exit_at_task_unpickle error_at_task_unpickle crash_at_task_unpickle "
                            "crash_during_func_exec_on_worker exit_during_func_exec_on_worker error_during_func_exec_on_worker "
                            "crash_during_result_pickle_on_worker exit_during_result_pickle_on_worker "
                            "error_during_result_pickle_on_worker error_during_result_unpickle_in_result_handler "
                            "exit_during_result_unpickle_in_result_handler shutdown_deadlock shutdown_deadlock_pickle "
                            "crash_big_data gh105829_should_not_deadlock_if_wakeup_pipe_full",
}
# The rows of the fault matrix that floors 0 to 5 must survive.
FAULTS = [*range(1, 8), *range(14, 17), *range(18, 43), 45, 46, 50, *range(53, 59), 62, 63, *range(73, 86), *range(87, 92),
          *range(94, 102)]

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
    return complaints + ["%s.%s is no test of CPython's" % k for k in sorted(seen - wanted)]


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
        ({"tests/faults.md": ""}, "row 101 is missing")])
    checks.lint("names of tests are promises, none twice", check_names, files, [
        {"tests/a.cpp": 'TEST_CASE("testQueue", "[q]")'}, {"tests/a.cpp": case + case}])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
