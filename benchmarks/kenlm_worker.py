"""KenLM as a worker: names of a model and of a text in, the text's log probability out.

Runs in the environment of the peers. A request {"model", "text", "skip"} names an ARPA or binary
file and a text of one document a line, symbols separated by spaces; the first `skip` symbols of
each document are not counted. The answer: natural log probability, number of symbols, and the
seconds that the model took to load. Without "text" only the loading is done.
"""

from __future__ import annotations

import json
import math
import sys
import time
from importlib import metadata

import kenlm


def main() -> None:
    """Answer until the input ends."""
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        model = kenlm.Model(request["model"], config)
        load_seconds = time.perf_counter() - start
        log_prob, symbols = 0.0, 0
        if "text" in request:
            with open(request["text"], encoding="utf-8") as text:
                for document in text:
                    scores = model.full_scores(document.strip(), bos=False, eos=False)
                    counted = [score for score, _, _ in scores][request["skip"] :]
                    log_prob += math.fsum(counted) * math.log(10)
                    symbols += len(counted)
        answer = {
            "log_prob": log_prob,
            "symbols": symbols,
            "load_seconds": load_seconds,
            "version": metadata.version("kenlm"),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
