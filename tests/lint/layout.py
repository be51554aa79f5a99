"""Formatting: what clang-format 14 says with the project's .clang-format."""
import subprocess
import sys

import common


def check_format(files):
    """By name for the project's files, by standard input for samples."""
    complaints = []
    for path, text in files.items():
        done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", "--assume-filename=" + path], input=text, cwd=common.TOP,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            lines = [l for l in done.stdout.splitlines() if "error:" in l]
            complaints.append("%s is not formatted (clang-format-14 -i does it): %s" % (path, lines[0] if lines else done.stdout[:200]))
    return complaints


def main():
    checks = common.Checks("format")
    checks.lint("every source is formatted", check_format, common.project_files(".cpp", ".hpp"), [{"libmp/src/os/a.cpp": "int  main( ){}\n"}])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
