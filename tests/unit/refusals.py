"""Compiles a refusals.cpp and looks for the sentence that each line promises: what cannot travel is refused at compile time,
at the user's own line, with one sentence that says what to do instead.

Arguments: that file, the compiler and its flags.
"""
import os
import re
import subprocess
import sys


def main():
    source = sys.argv[1]
    command = sys.argv[2:] + ["-std=c++20", "-fsyntax-only", "-w", source]
    command += ["-ferror-limit=0", "-fno-color-diagnostics"] if "clang" in " ".join(command) else ["-fmax-errors=0"]
    text = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C")).stderr.split("\n")

    with open(source) as f:
        promised = {number: found.group(1) for number, line in enumerate(f, 1)
                    if (found := re.search(r"// refused: (.*\S)", line))}
    # Each assertion belongs to the line of ours that led to it: g++ names it before the error, clang after it.
    here = re.compile(r"refusals\.cpp:(\d+):\d+:.*(?:required from here|requested here)")
    assertion = re.compile(r"error: static assertion failed.*?(mp: .*)")
    clang = "clang" in " ".join(command)
    said, line, sentence = {}, None, None
    for row in text + [" error: the end"]:
        if clang and " error: " in row and sentence and line:
            said.setdefault(line, []).append(sentence)  # the last line of ours in the chain is the user's
            line = sentence = None
        if found := here.search(row):
            line = int(found.group(1))
        elif found := assertion.search(row):
            sentence = found.group(1)
            if line and not clang:
                said.setdefault(line, []).append(sentence)

    failed = 0
    for number, sentence in sorted(promised.items()):
        if not any(sentence in one for one in said.get(number, [])):
            failed += 1
            print(f"refusals.cpp:{number}: nothing says \"{sentence}\"; there is {said.get(number, [])}")
    for number in sorted(set(said) - set(promised)):
        failed += 1
        print(f"refusals.cpp:{number}: refused, but nothing is wrong there: {said[number]}")
    print(f"tally: {len(promised) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
