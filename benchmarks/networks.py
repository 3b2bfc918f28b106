"""Whole networks: clgen's generated C against five other engines, measured in turn in one run.

    python benchmarks/networks.py [NETWORK ...] [--set classic|today] [--device D] [--threads 2] [--isa avx2] [--plot F]

The classic set has convolutions and batch norms; the set of today has layer and group norms, attention, detection,
segmentation and a network over time.  The table shows milliseconds of an inference; rounds.py says how they are
measured.  All outputs are compared with ONNX Runtime's.
"""

from __future__ import annotations

import rounds
from zoo import SETS, input_of, onnx_file


def main() -> None:
    parser = rounds.parser("Whole networks against other engines.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="of the set; default: all")
    parser.add_argument("--set", default="classic", choices=list(SETS), help="default: classic")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    known = SETS[options.set]
    if unknown := [name for name in options.networks if name not in known]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(known)}")
    rounds.pin(options.threads)
    rounds.print_heading("network", f"batch {options.batch}; milliseconds", options)
    results = []
    for network in options.networks or known:
        model = onnx_file(network, options.batch, options.folder)
        results.append(rounds.measure(network, model, input_of(network, options.batch), options))
        rounds.print_row(results[-1], results[-1].milliseconds, 2, options)
    rounds.finish(results, options, batch=options.batch, set=options.set)


if __name__ == "__main__":
    main()
