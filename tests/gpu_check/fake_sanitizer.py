#!/usr/bin/env python3
"""Stands in for compute-sanitizer: runs the program behind its own options, and reports what FAKE_REPORT
says: nothing, or an error in the kernel of that name found by memcheck."""

import os
import subprocess
import sys

words = sys.argv[1:]
options, program = words[: words.index("--print-limit") + 2], words[words.index("--print-limit") + 2 :]
ended = subprocess.run(program).returncode
kernel = os.environ.get("FAKE_REPORT", "")
found = bool(kernel) and "memcheck" in options
if found:
    print(f"========= Invalid __global__ read of size 4 bytes\n=========     at {kernel}+0x1a0")
print(f"========= ERROR SUMMARY: {int(found)} errors")
sys.exit(int(options[options.index("--error-exitcode") + 1]) if found else ended)
