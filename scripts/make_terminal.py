#!/usr/bin/env python3
"""Draw docs/pictures/terminal.svg: what `lpips eval` prints for the sample images.

    scripts/make_terminal.py [PROGRAM]

PROGRAM is target/release/lpips by default. The picture shows the command and the ranking as they are printed; times,
paths and notes are left out. tests/it/docs.rs compares it with the tour, which is run.
"""

import html
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = "lpips eval tests/data/sr/manifest.csv -o results --group-by method"
#: Pixels between lines, and around them.
LINE, MARGIN = 22, 24
#: Width of a character of 14 pixels.
CHARACTER = 8.43


def printed(program: pathlib.Path) -> list[str]:
    """The ranking that the command prints."""
    with tempfile.TemporaryDirectory() as folder:
        words = COMMAND.replace("-o results", f"-o {folder}/results").split()
        output = subprocess.run([program, *words[1:]], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True)
    lines = output.stderr.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("lpips_alex by method"))
    end = next(at for at, line in enumerate(lines) if line.startswith("signature"))
    return lines[start:end]


def picture(lines: list[str]) -> str:
    """An SVG whose text can be selected."""
    width = round(max(map(len, lines)) * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    texts = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE * at + 15}" class="{"output" if at else "command"}">{html.escape(line)}</text>'
        for at, line in enumerate(lines)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>Ranking of three methods, printed by lpips eval</title>
<style>
.command, .output {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #c9d1d9; white-space: pre }}
.command {{ fill: #7ee787 }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
{texts}
</svg>
"""


def main() -> None:
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/lpips").resolve()
    target = ROOT / "docs/pictures/terminal.svg"
    target.write_text(picture([f"$ {COMMAND}", *printed(program)]))
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
