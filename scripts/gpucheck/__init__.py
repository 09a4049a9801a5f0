"""What scripts/gpu_check does, for a GPU host that has Python and PyTorch but neither Rust nor a network.

    main         arguments -> parts -> report -> exit code
    options      the arguments
    session      what the parts share
    parts        which parts there are, and the loop that runs them within their time
    process      one command within its time; commands.log
    machine      what this is measured on: GPU, driver, libraries, hashes
    program      the `lpips` binary: eval, doctor
    selftest     parts `doctor` and `selftest`
    starting     parts `start` and `sizes`: before the first pair, and of every new size
    sanitizer    part `sanitizer`: compute-sanitizer on a small run
    accuracy     parts `deviation` and `invariance`
    rates        parts `floors`, `resident` and `files`: this program against PyTorch
    report       gpu_check.json and gpu_check.md
    nets         the three trunks as data; floating-point operations and bytes of a pair
    weights      safetensors, files sent in pieces, the formula trunk
    photos, png  pairs of crops of real photographs
    module       the LPIPS module of PyTorch, rebuilt from our weights files       (needs torch)
    worker       jobs of a child process: float64 values, floors, PyTorch's rates  (needs torch)

Only `module` and `worker` import torch, and only a child process imports them, so that whatever
happens there (out of memory, a hang) costs its part and no more. Everything else is standard
library: it is tested wherever Python is.
"""
