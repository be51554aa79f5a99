"""The rules of the house that a program can see: waiting by time, long files, quiet headers, machine paths, decisions."""
import os
import re
import sys

import common

# Files that may be longer than the budget, each with the reason why it is still one thing.
LONG_FILES = {
}
BUDGET = 350


def check_no_sleep(files):
    """Tests wait for facts. poll with no descriptors is a sleep, too."""
    pattern = re.compile(r"sleep_(?:for|until)\b|\b(?:u|nano|clock_nano)?sleep\s*\(|\bpoll\s*\(\s*(?:nullptr|NULL|0)\s*,")
    return ["%s:%d: waits by time: %s" % (path, text.count("\n", 0, m.start()) + 1, m.group(0))
            for path, text in files.items() if path.startswith("tests/") and path.endswith((".cpp", ".hpp"))
            for m in pattern.finditer(common.without_comments(text))]


def check_length(files):
    complaints = ["%s has %d lines; the budget is %d" % (path, text.count("\n"), BUDGET) for path, text in files.items()
                  if text.count("\n") > BUDGET and path not in LONG_FILES]
    return complaints + ["%s is on the list of long files and is not long" % path for path in LONG_FILES
                         if path not in files or files[path].count("\n") <= BUDGET]


def check_comments(files):
    """A reader should not need the source: at least one line in five of a public header is a comment."""
    complaints = []
    for path, text in common.public_headers(files).items():
        if "/detail/" in path:
            continue  # templates that users do not read
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        comments = sum(line.startswith("//") or "///<" in line for line in lines)
        if len(lines) - comments > 25 and comments * 5 < len(lines):
            complaints.append("%s: %d of %d lines are comment" % (path, comments, len(lines)))
    return complaints


def check_source_head(files):
    """Each source of the library begins by saying what it is and what it must never do."""
    return ["%s does not begin with a comment" % path for path, text in files.items()
            if re.match(r"(libmp|actors)/src/.*\.(cpp|hpp)$", path) and not re.match(r"(#pragma once\n)?//", text)]


def check_no_machine(files):
    """Nothing of the machine it was written on."""
    pattern = re.compile(r"(?<![\w.])/(?:work|farm|root)/|\bdeb\.debian\.org|\bregistry\.npmjs")
    return ["%s:%d: names a machine's path or host: %s" % (path, text.count("\n", 0, m.start()) + 1, m.group(0))
            for path, text in files.items() for m in pattern.finditer(text)]


def check_marks(files):
    """No mark that blocks a merge, no test that is switched off."""
    pattern = re.compile(r"TODO\(now\)|FIX" + r"ME|\bXX" + r"X\b|NO" + r"LINT|\[!may" + r"fail\]|\[!should" + r"fail\]|\"\[\." + r"[^\"]*\]")
    return ["%s:%d: %s" % (path, text.count("\n", 0, m.start()) + 1, m.group(0))
            for path, text in files.items() if path.endswith((".cpp", ".hpp", ".py")) for m in pattern.finditer(text)]


def check_decisions(files):
    """doc/decisions: NNNN-name.md without gaps or twins, each with its number in the title, all in the list."""
    pages = sorted(p for p in files if re.match(r"libmp/doc/decisions/(?!README)[^/]+\.md$", p))
    index = files.get("libmp/doc/decisions/README.md", "")
    complaints = []
    for expected, path in enumerate(pages, 1):
        name = path.rsplit("/", 1)[1]
        number = re.match(r"(\d{4})-[a-z0-9-]+\.md$", name)
        if not number:
            complaints.append("%s is not named NNNN-some-words.md" % path)
        elif int(number.group(1)) != expected:
            complaints.append("%s: the next number is %04d" % (path, expected))
        elif not files[path].startswith("# %s" % number.group(1)):
            complaints.append("%s does not begin with '# %s'" % (path, number.group(1)))
        if name not in index:
            complaints.append("%s is not listed in libmp/doc/decisions/README.md" % name)
    return complaints


def check_references(files):
    """A page that a comment or a document names is there."""
    complaints = []
    for path, text in files.items():
        for name in re.findall(r"\b(?:libmp/)?(doc/[\w./-]+\.md)\b", text):
            if "libmp/" + name not in files:
                complaints.append("%s names libmp/%s, which is not there" % (path, name))
    return complaints


def check_links(files):
    """Relative links of documents lead somewhere."""
    complaints = []
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.S)):
            if "://" in link:
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(path), link))
            if not any(f == target or f.startswith(target + "/") for f in files) and not os.path.exists(os.path.join(common.TOP, target)):
                complaints.append("%s links to %s" % (path, link))
    return complaints


def check_readmes(files):
    """Every folder with files of its own says what is in it."""
    folders = {"/".join(p.split("/")[:2]) for p in files if p.count("/") >= 2 and p.startswith(("libmp/src", "tests/"))}
    folders |= {"libmp", "actors", "tests", "samples", "bench", "libmp/doc/decisions"}
    return ["%s has no README.md" % folder for folder in sorted(folders)
            if folder + "/README.md" not in files and any(p.startswith(folder + "/") for p in files)]


TOP_LEVEL = {"libmp", "actors", "tests", "samples", "bench", "meson.build", "meson_options.txt", "README.md", "LICENSE"}


def check_top_level(files):
    return ["%s does not belong into the top level" % name for name in sorted({p.split("/")[0] for p in files})
            if name not in TOP_LEVEL and not name.startswith(".")]


def main():
    code = common.project_files(".cpp", ".hpp")
    everything = common.project_files(under=())
    documents = {p: t for p, t in everything.items() if p.endswith((".md", ".hpp", ".cpp"))}
    checks = common.Checks("house")
    checks.lint("no test waits by time", check_no_sleep, code, [
        {"tests/a.cpp": "void f() { std::this_thread::sleep" + "_for(1s); }"}, {"tests/a.cpp": "  usl" + "eep(10);"},
        {"tests/a.cpp": "  ::poll(nullptr, 0, 10);"}, {"tests/a.hpp": "while (x) slee" + "p(1);"}])
    checks.lint("no file is longer than %d lines" % BUDGET, check_length, code, [{"libmp/src/os/a.cpp": "\n" * (BUDGET + 1)}])
    checks.lint("a public header explains itself", check_comments, code, [{"libmp/include/mp/a.hpp": "int x;\n" * 40}])
    checks.lint("a source says what it is", check_source_head, code, [{"libmp/src/os/a.cpp": "#include <x>\n"}])
    checks.lint("nothing names a machine", check_no_machine, everything, [
        {"tests/run": "cd /wo" + "rk/main"}, {"README.md": "http://deb.deb" + "ian.org/debian"}])
    checks.lint("no mark that blocks a merge, no test switched off", check_marks, common.project_files(".cpp", ".hpp", ".py"), [
        {"libmp/src/os/a.cpp": "// TODO(n" + "ow) think"}, {"tests/a.cpp": 'TEST_CASE("x: y", "' + '[.x]")'}])
    checks.lint("decisions are numbered and listed", check_decisions, documents, [
        {"libmp/doc/decisions/0002-b.md": "# 0002 b\n", "libmp/doc/decisions/README.md": "0002-b.md"},
        {"libmp/doc/decisions/0001-a.md": "# a\n", "libmp/doc/decisions/README.md": "0001-a.md"},
        {"libmp/doc/decisions/0001-a.md": "# 0001 a\n"}])
    checks.lint("pages that are named exist", check_references, documents, [{"libmp/include/mp/a.hpp": "/// Source: doc/nowhere.md."}])
    checks.lint("links in documents lead somewhere", check_links, everything, [{"README.md": "[x](libmp/nowhere.md)"}])
    checks.lint("folders have a README", check_readmes, everything, [{"libmp/src/os/a.cpp": ""}])
    checks.lint("the top level stays small", check_top_level, everything, [{"notes.txt": ""}, {"tools/a.sh": ""}])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
