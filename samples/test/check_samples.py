#!/usr/bin/env python3
"""Runs every sample and checks what it prints. usage: check_samples.py DIRECTORY_OF_THE_PROGRAMS"""

import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference  # noqa: E402

PROGRAMS = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
PATIENCE = 120  # seconds; only a guard against hanging
EVERY_WORD = 10**6
FORMS = ([], ["--queues"])  # by a pool, by queues


def run(name, *arguments, code=0, **how):
    # The output ends when the last process that holds it has ended: a worker that stays behind makes this time out.
    done = subprocess.run([PROGRAMS / name, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=PATIENCE, check=False, **how)
    if done.returncode != code:
        raise AssertionError(f"{name} {arguments} ended with {done.returncode}:\n{done.stdout!r}\n{done.stderr!r}")
    return done.stdout.decode("utf-8", "strict"), done.stderr.decode("utf-8", "strict")


def read_all(terminal, into):
    """What is written to a terminal, until nobody can write any more (EIO)."""
    try:
        while piece := os.read(terminal, 65536):
            into.append(piece)
    except OSError:
        pass


def make_tree(root):
    """Everything that a tree can hold and that a counter can get wrong."""
    random.seed(20071)
    (root / "deep" / "er" / "still").mkdir(parents=True)
    (root / "empty directory").mkdir()
    (root / "empty").write_bytes(b"")
    (root / "no newline at the end").write_bytes(b"last word")
    (root / "case").write_bytes(b"Word wORD WORD word @[`{ \x7f DEL\x7fdel AZaz09\r\nword\tword-word_word")
    (root / "bytes").write_bytes(bytes(range(1, 256)) * 3)
    (root / "latin-1").write_bytes("Grüße, Straße, Ærø".encode("latin-1"))
    (root / "utf-8").write_bytes("Grüße, Straße, Ærø 日本語 😀 Ünder ünder".encode())
    (root / "almost utf-8").write_bytes(b"\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80 \xe2\x82 \xff\xfe \x80")
    (root / os.fsdecode(b"name\nwith\xffeverything \"\\")).write_bytes(b"strange name")
    (root / "zero at once").write_bytes(b"\0binary")
    (root / "zero at the last byte").write_bytes(b"a " * 4095 + b"b\0" + b" after")
    (root / "zero behind 8 KiB").write_bytes(b"a " * 4096 + b"\0text all the same\0too")
    (root / "deep" / "link").symlink_to(root / "case")
    (root / "deep" / "link to a directory").symlink_to(root)
    (root / "broken link").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    (root / "one long word").write_bytes(b"x" * 3_000_000)
    # Bigger than what is cut into parts, with words of all lengths over every border.
    words = [bytes(random.choices(b"abcXYZ019\xc3\xa4", k=random.randint(1, 30))) for _ in range(400)]
    words += [b"y" * 300_000, b"Z" * 5_000_000]
    with (root / "deep" / "er" / "big").open("wb") as big:
        while big.tell() < 30_000_000:
            big.write(b" ".join(random.choices(words[:400], k=5000)))
            if random.random() < 0.3:
                big.write(b" " * random.randint(1, 70_000))
            big.write(random.choices([b"\n", b"-" + words[400] + b".", b"." + words[401]], [200, 20, 1])[0])
    (root / "deep" / "er" / "separators only").write_bytes(b" .\n" * 6_000_000)
    for i in range(3000):
        text = b" ".join(random.choices(words[:400], k=random.randint(0, 300)))
        (root / "deep" / "er" / "still" / f"{i}.txt").write_bytes(text)


class Slides(unittest.TestCase):
    def test_hello_process_says_hello_from_a_process_of_its_own(self):
        out, err = run("01_hello_process")
        self.assertRegex(out, r"\Ahello bob\nprocess \d+ \([^)]+\) exited with code 0\n\Z")
        self.assertEqual(err, "")

    def test_a_message_with_numbers_nothing_and_a_word_goes_through_the_queue(self):
        self.assertEqual(run("02_queue"), ("[42, None, 'hello']\n[0.5, 7]\n", ""))

    def test_the_pipe_tells_leaving_from_dying_and_loses_nothing(self):
        out, err = run("03_pipe")
        every = [f"{hour} h, roof: {20 + hour / 2:g} degrees" for hour in range(10, 14)]
        self.assertEqual(out.splitlines(), every + ["the sender is done; its process exited with code 0"] +
                         every[:2] + ["the sender died; its process was killed by SIGKILL"])
        self.assertEqual(err, "")

    def test_a_pool_maps_submits_and_reads_ahead(self):
        self.assertEqual(run("04_pool"), ("1 8 27 64 125 216 \nsubmitted 1\n"
                                          "the sum of the cubes from 1 to 101 is 26532801\n", ""))

    def test_a_pool_outlives_what_its_tasks_do(self):
        out, _ = run("05_crash")
        lines = out.splitlines()
        self.assertEqual(lines[0], "14 answers arrived, their sum is 1320; the rest:")
        said = {int(line.split()[0]): " ".join(line.split()[1:]) for line in lines[1:]}
        self.assertEqual(sorted(said), [3, 5, 8, 11, 14, 17])
        self.assertIn("SIGSEGV", said[3])
        self.assertEqual(said[5], "std::domain_error: there is no work for 5")
        self.assertIn("its deadline was over", said[8])
        self.assertIn("SIGKILL", said[11])
        self.assertIn("bad_alloc", said[14])
        self.assertEqual(said[17], "its worker exited with code 9")

    def test_processes_ask_each_other(self):
        self.assertEqual(run("06_mailbox"), ("Ann has 55, Bob has 10\nthe bank says: no account of Eve\n"
                                             "the bank exited with code 0\n", ""))

    def test_a_supervisor_starts_again_what_crashes(self):
        out, _ = run("07_supervisor")
        for n in range(1, 7):
            self.assertIn(f"{n} squared is {n * n}\n", out)
        self.assertRegex(out, r"squares: [23] restarts, the last one because it was killed by SIGSEGV")
        self.assertTrue(out.endswith("all ended in order\n"), out)

    def test_an_isolated_actor_crashes_alone_and_comes_again(self):
        out, _ = run("08_isolated_actor")
        self.assertIn("1 of 4 is 25 %\n", out)
        self.assertIn("the divider was killed by SIGABRT", out)
        self.assertIn("1 of 0 has no answer: who was asked is down\n", out)
        self.assertTrue(out.endswith("3 of 4 is 75 %\n"), out)


class Wordcount(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        os.chmod(cls.directory.name, 0o755)
        cls.tree = pathlib.Path(cls.directory.name) / "tree"
        cls.tree.mkdir()
        make_tree(cls.tree)
        cls.expected = reference.count(cls.tree, EVERY_WORD)

    def check(self, *arguments):
        out, err = run("wordcount", self.tree, "--json", "--top", EVERY_WORD, *arguments)
        found = json.loads(out)
        self.assertEqual(list(found), list(self.expected))
        for key in self.expected:
            if key != "top":
                self.assertEqual(found[key], self.expected[key], key)
        wrong = [pair for pair in zip(found["top"], self.expected["top"]) if pair[0] != pair[1]]
        self.assertEqual(wrong[:3], [])
        self.assertEqual(len(found["top"]), len(self.expected["top"]))
        return err

    def test_any_number_of_processes_counts_what_the_reference_counts(self):
        for form in FORMS:
            for processes in (1, 2, 4):
                with self.subTest(form=form, processes=processes):
                    err = self.check("--processes", processes, *form)
                    self.assertNotIn("death", err)

    def test_the_count_is_right_over_sockets_too(self):
        self.check("--processes", 2, "--socket")

    def test_a_batch_whose_worker_is_killed_is_counted_by_another(self):
        for processes in (1, 2, 4):
            with self.subTest(processes=processes):
                err = self.check("--processes", processes, "--kill-one")
                self.assertRegex(err, r"a worker died with batch 0 in hand, whose first file is .*; process \d+ counted it again")
                self.assertRegex(err, r"counter worker \d \(process \d+\) killed by SIGKILL; another worker takes its place")
                self.assertIn(" 0 second counts dropped", err)

    def test_what_a_worker_of_the_pool_gave_before_it_was_killed_counts_once(self):
        for processes in (1, 4):
            with self.subTest(processes=processes):
                err = self.check("--processes", processes, "--kill-one=after")
                self.assertRegex(err, r"counter worker \d \(process \d+\) killed by SIGKILL; another worker takes its place")
                self.assertNotIn("with batch 0 in hand", err)
                self.assertIn(" 0 second counts dropped", err)

    def test_the_queue_gives_the_batch_of_a_killed_worker_to_another(self):
        for processes in (1, 2, 4):
            with self.subTest(processes=processes):
                err = self.check("--processes", processes, "--queues", "--kill-one")
                self.assertRegex(err, r"counter-1 \(process \d+\) was killed with batch 0 in hand")
                self.assertIn("counter-1 killed by SIGKILL; another worker takes its place", err)
                self.assertIn(" 0 second counts dropped", err)

    def test_second_counts_are_dropped_when_a_queue_s_worker_is_killed_after_it_has_given_its_counts(self):
        for processes in (1, 4):
            with self.subTest(processes=processes):
                err = self.check("--processes", processes, "--queues", "--kill-one=after")
                self.assertIn("counter-1 killed by SIGKILL; another worker takes its place", err)
                self.assertIn(" 1 second counts dropped", err)

    def test_what_was_skipped_is_said_with_the_reason(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.check_reasons(self.check(*form))

    def check_reasons(self, err):
        self.assertRegex(err, r"(?m)^skipped  6$")
        self.assertRegex(err, r"2 binary \(a zero byte in the first 8 KiB\): .*zero at once, .*zero at the last byte")
        self.assertRegex(err, r"3 symbolic link: .*broken link, .*link, .*link to a directory")
        self.assertRegex(err, r"1 not a regular file: .*fifo")

    def test_what_cannot_be_read_is_skipped_with_the_reason(self):
        closed = pathlib.Path(self.directory.name) / "closed"
        (closed / "directory").mkdir(parents=True)
        (closed / "directory" / "unseen").write_text("unseen")
        (closed / "file").write_text("closed")
        (closed / "open").write_text("open")
        (closed / "file").chmod(0)
        (closed / "directory").chmod(0)
        self.addCleanup((closed / "directory").chmod, 0o700)
        how = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        for form in FORMS:
            with self.subTest(form=form):
                try:
                    out, err = run("wordcount", closed, "--json", *form, **how)
                except PermissionError as error:
                    self.skipTest(f"another user cannot run the program here: {error}")
                self.assertEqual(json.loads(out)["files"], 1)
                self.assertEqual(json.loads(out)["skipped"], 2)
                self.assertRegex(err, r"2 unreadable: Permission denied: .*/directory, .*/file")

    def test_the_licences_of_this_machine_are_counted_as_the_reference_does(self):
        licences = "/usr/share/common-licenses"
        if not os.path.isdir(licences):
            self.skipTest(f"this machine has no {licences}")
        for form in FORMS:
            out, _ = run("wordcount", licences, "--json", "--kill-one", *form)
            self.assertEqual(json.loads(out), reference.count(licences))

    def test_an_empty_directory_and_a_single_file_are_fine(self):
        for options in ([], ["--kill-one"], ["--queues"], ["--queues", "--kill-one"]):
            out, _ = run("wordcount", self.tree / "empty directory", "--json", *options)
            self.assertEqual(json.loads(out), {"files": 0, "skipped": 0, "bytes": 0, "words": 0, "distinct": 0, "top": []})
        for name in ("case", "deep/link"):  # a link that is asked for is followed
            out, _ = run("wordcount", self.tree / name, "--json", "--top=2")
            self.assertEqual(json.loads(out), reference.count(self.tree / name, 2))

    def test_the_report_has_the_top_words_the_figures_and_the_speed(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.check_report(*run("wordcount", self.tree, "--processes", 2, "--top", 3, *form))

    def check_report(self, out, err):
        lines = out.splitlines()
        for line, (word, number) in zip(lines, self.expected["top"][:3]):
            shown = word.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "?")
            self.assertRegex(line, rf"^ +\d\. +{number:,}  {re.escape(shown)}$")
        self.assertIn(f"files    {self.expected['files']:,} text files in {self.tree}", out)
        self.assertIn(f"{self.expected['words']:,} words, {self.expected['distinct']:,} of them different", out)
        self.assertRegex(out, r"\d+ MB/s by 2 processes, \d+ MB/s by one alone: \d+\.\d\d times as fast")
        self.assertEqual(err, "")  # no progress where nobody looks

    def test_a_progress_line_is_written_where_a_person_looks(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.check_progress_line(form)

    def check_progress_line(self, form):
        try:
            terminal, other_side = os.openpty()
        except OSError as problem:
            self.skipTest("no terminals can be made here (is /dev/pts mounted?): %s" % problem)
        shown = []
        reader = threading.Thread(target=read_all, args=(terminal, shown))
        reader.start()
        try:
            done = subprocess.run([PROGRAMS / "wordcount", self.tree, "--json", *form], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=other_side, timeout=PATIENCE, check=True)
        finally:
            os.close(other_side)
            reader.join()
            os.close(terminal)
        self.assertRegex(b"".join(shown).decode(), r"\r[\d,]+ files, [\d.]+ MB, [\d,]+ words, \d+ MB/s\x1b\[K")
        self.assertEqual(json.loads(done.stdout)["files"], self.expected["files"])

    def test_a_wrong_command_line_is_refused_with_a_sentence(self):
        for arguments, sentence in [
            (["/no/such/directory"], "/no/such/directory: there is no such file or directory"),
            (["--processes", "0"], "--processes takes a number from 1 to 1000"),
            (["--processes"], "--processes takes a number from 1 to 1000"),
            (["--top=many"], "--top takes a number"),
            (["--jsn"], "no such option: --jsn"),
        ]:
            out, err = run("wordcount", *arguments, code=2)
            self.assertEqual(out, "")
            self.assertIn(sentence, err)
            self.assertIn("usage: wordcount", err)


if __name__ == "__main__":
    program = unittest.main(argv=[sys.argv[0], "-v"], exit=False)
    result = program.result
    bad = len(result.failures) + len(result.errors)
    for _, why in result.skipped:
        print(f"skipped: {why}")
    print(f"tally: {max(result.testsRun - bad, 0)} passed, {bad} failed", flush=True)
    sys.exit(bad != 0)
