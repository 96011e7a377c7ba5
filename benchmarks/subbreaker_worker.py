"""subbreaker as a worker: a ciphertext a line in, its solution and the seconds it took out.

    subbreaker_worker.py SEED [TEXT]

Runs in the environment of the peers. With TEXT, the quadgrams are counted from that file; otherwise
they are the English ones that subbreaker brings along.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
from importlib import metadata, resources

from subbreaker.breaker import Breaker


def main() -> None:
    """Answer until the input ends."""
    random.seed(int(sys.argv[1]))
    if len(sys.argv) > 2:
        quadgrams = io.StringIO()
        with open(sys.argv[2], encoding="utf-8") as text:
            Breaker.generate_quadgrams(text, quadgrams)
        quadgrams.seek(0)
    else:
        shipped = resources.files("subbreaker") / "quadgram" / "EN.json"
        quadgrams = io.StringIO(shipped.read_text(encoding="utf-8"))
    breaker = Breaker(quadgrams)
    for line in sys.stdin:
        ciphertext = json.loads(line)
        start = time.perf_counter()
        result = breaker.break_cipher(ciphertext)
        seconds = time.perf_counter() - start
        answer = {
            "plaintext": result.plaintext,
            "seconds": seconds,
            "keys": result.nbr_keys,
            "version": metadata.version("subbreaker"),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
