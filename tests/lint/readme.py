"""The programs in README.md compile, run, and print what stands under them.

A block ```cpp that holds main() is a program; a block ```text right after it is what it prints ("..." stands for any text).

usage: readme.py LIBRARY...    (libmp-actors.a and libmp.a of this build, in the linker's order)
"""
import os
import re
import subprocess
import sys
import tempfile

import common

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)


def programs(text):
    """(code, expected output or None) of each program in a page."""
    blocks = list(BLOCK.finditer(text))
    found = []
    for i, block in enumerate(blocks):
        if block.group(1) != "cpp" or "int main(" not in block.group(2):
            continue
        after = blocks[i + 1] if i + 1 < len(blocks) else None
        said = after.group(2) if after and after.group(1) == "text" else None
        found.append((block.group(2), said))
    return found


def check_program(code, expected, libraries):
    with tempfile.TemporaryDirectory(prefix="libmp-readme-") as temp:
        source, binary = os.path.join(temp, "program.cpp"), os.path.join(temp, "program")
        with open(source, "w", encoding="utf-8") as file:
            file.write(code)
        command = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DBOOST_ASIO_SEPARATE_COMPILATION", "-I", common.TOP + "/libmp/include",
                   "-I", common.TOP + "/actors/include", source, *libraries, "-lcaf_core", "-pthread", "-o", binary]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            return ["does not compile:\n" + done.stdout[:3000]]
        try:
            done = subprocess.run([binary], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return ["hangs"]
        if expected is not None:
            pattern = ".*?".join(re.escape(part) for part in expected.split("..."))
            if not re.fullmatch(pattern, done.stdout, re.S):
                return ["prints\n%s%s\ninstead of\n%s" % (done.stdout, done.stderr, expected)]
        elif done.returncode != 0:
            return ["ends with code %d: %s" % (done.returncode, done.stderr)]
    return []


def main():
    libraries = sys.argv[1:]
    checks = common.Checks("documents")
    pages = {p: t for p, t in common.project_files(".md", under=()).items() if "```cpp" in t}
    checks.run("README.md has a program", lambda: [] if programs(pages.get("README.md", "")) else ["there is none"])
    for path, text in pages.items():
        for number, (code, expected) in enumerate(programs(text), 1):
            checks.run("program %d of %s compiles and says what stands there" % (number, path),
                       lambda code=code, expected=expected: check_program(code, expected, libraries))
    checks.run("a program that does not compile is caught", lambda: [] if check_program("int main() { return x; }", None, libraries) else ["it passes"])
    checks.run("a program that says something else is caught",
               lambda: [] if check_program('#include <cstdio>\nint main() { std::puts("a"); }', "b\n", libraries) else ["it passes"])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
