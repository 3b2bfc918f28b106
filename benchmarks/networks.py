"""Whole networks: clgen's generated C against ONNX Runtime, OpenVINO and ncnn, measured in turn in one run.

    python benchmarks/networks.py [NETWORK ...] [--device D] [--threads 2] [--batch 1] [--rounds 9] [--plot F]

The table shows milliseconds of an inference; rounds.py says how they are measured.  All outputs are compared with ONNX
Runtime's.
"""

from __future__ import annotations

import numpy as np
import rounds
from zoo import SIZES, onnx_file


def main() -> None:
    parser = rounds.parser("Whole networks against ONNX Runtime, OpenVINO and ncnn.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(SIZES)}; default: all")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in SIZES]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(SIZES)}")
    rounds.pin(options.threads)
    rounds.print_heading("network", f"batch {options.batch}; milliseconds", options)
    results = []
    for network in options.networks or SIZES:
        model = onnx_file(network, options.batch, options.folder)
        shape = (options.batch, 3, SIZES[network], SIZES[network])
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        results.append(rounds.measure(network, model, x, options))
        rounds.print_row(results[-1], results[-1].milliseconds, 2, options.details)
    rounds.finish(results, options, batch=options.batch)


if __name__ == "__main__":
    main()
