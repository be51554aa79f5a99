"""What wordcount must print, counted the plain way: one file after the other, in one process."""

import collections
import os
import re
import stat

WORD = re.compile(rb"[0-9a-z\x80-\xff]+")


def files_below(root):
    """Every entry that is no directory; links are not followed, except the root itself."""
    root = os.path.realpath(root)
    if not stat.S_ISDIR(os.stat(root).st_mode):
        yield root
        return
    for directory, below, names in os.walk(root, onerror=raise_it):
        for name in names + [d for d in below if os.path.islink(os.path.join(directory, d))]:
            yield os.path.join(directory, name)


def raise_it(error):
    raise error


def count(root, top=20):
    """The same object that `wordcount ROOT --json --top TOP` prints."""
    words = collections.Counter()
    files = skipped = size = 0
    for path in files_below(root):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            skipped += 1
            continue
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            skipped += 1
            continue
        if b"\0" in text[:8192]:
            skipped += 1
            continue
        files += 1
        size += len(text)
        words.update(WORD.findall(text.lower()))  # bytes.lower() changes ASCII letters only
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:top]
    return {
        "files": files,
        "skipped": skipped,
        "bytes": size,
        "words": sum(words.values()),
        "distinct": len(words),
        "top": [[word.decode("utf-8", "surrogateescape"), number] for word, number in ranked],
    }
