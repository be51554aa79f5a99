"""What the lints have in common: the files of the project, and counting named checks.

A lint is a module with functions that take {path: text} and give a list of complaints; each has a self-test: a bad
sample that it must complain about. `Checks` runs both and prints what ./tests/run counts.
"""
import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLOORS = ["words", "wire", "os", "channel", "process"]  # and above them: actors, users


class Failed(Exception):
    """A check found something; the text says what."""


class Checks:
    """Runs named checks one after the other and counts them."""

    def __init__(self, title):
        self.title, self.passed, self.failed = title, 0, 0

    def run(self, name, check):
        try:
            complaints = check()
            if complaints:
                raise Failed("\n".join(str(c) for c in complaints))
        except Failed as failure:
            self.failed += 1
            print("FAIL %s: %s" % (self.title, name))
            print("\n".join("     " + line for line in str(failure).splitlines()))
        else:
            self.passed += 1
            print("ok   %s: %s" % (self.title, name))

    def lint(self, name, check, good, bad_samples):
        """The check on the project's files, and on each bad sample, {path: text}: it must complain, in these words where given."""
        self.run(name, lambda: check(good))
        for number, sample in enumerate(bad_samples, 1):
            files, words = sample if isinstance(sample, tuple) else (sample, "")

            def must_complain(files=files, words=words):
                return [] if any(words in c for c in check(files)) else ["a bad sample passes: %s" % files]
            self.run("%s (catches bad sample %d)" % (name, number), must_complain)

    def done(self):
        print("tally: %d passed, %d failed" % (self.passed, self.failed))
        return 1 if self.failed else 0


def project_files(*suffixes, under=("libmp", "actors", "tests", "samples", "bench")):
    """{path: text} of what is tracked or about to be, by suffix; in a tree without git: all files."""
    try:
        names = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard", "-z"], check=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = []
        for directory, folders, files in os.walk(TOP):
            folders[:] = [f for f in folders if f not in (".git", "build")]
            names += [os.path.relpath(os.path.join(directory, f), TOP) for f in files]
    found = {}
    for name in sorted(set(names)):
        path = os.path.join(TOP, name)
        if not name or not os.path.isfile(path) or (suffixes and not name.endswith(suffixes)):
            continue
        if under and name.split("/")[0] not in under:
            continue
        try:
            with open(path, encoding="utf-8") as file:
                found[name] = file.read()
        except UnicodeDecodeError:
            continue  # binary: a corpus of the fuzzer
    return found


def public_headers(files):
    return {p: t for p, t in files.items() if re.match(r"(libmp|actors)/include/mp/.*\.hpp$", p)}


def without_comments(text):
    """The code alone; lines keep their numbers, strings are emptied."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    pattern = r'//[^\n]*|/\*.*?\*/|R"\((?:.*?)\)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\''
    keep_quotes = lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0)[0] + re.sub(r"[^\n]", " ", m.group(0)[1:-1]) + m.group(0)[-1]
    return re.sub(pattern, keep_quotes, text, flags=re.S)


def find_under(root, name, is_path=False):
    for directory, _, files in os.walk(root):
        for file in files:
            path = os.path.join(directory, file)
            if (is_path and path.endswith("/" + name)) or (not is_path and file == name):
                return path
    raise Failed("%s is not installed" % name)
