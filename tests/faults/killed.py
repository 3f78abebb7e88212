"""A training in a process of its own that kills itself: `-m tests.faults.killed FOLDER N MS`.

N steps after where it took up, and MS milliseconds later: within a step, or a checkpoint.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from ms_eff import runtime

runtime.prepare_cpu()

import mindspore as ms  # noqa: E402  (the environment must be set first)

ms.set_context(mode=ms.GRAPH_MODE)  # as in the tests; MindSpore's own default is another

from ms_eff.methods.base import Method  # noqa: E402
from ms_eff.section import Section  # noqa: E402
from tests.train.helpers import trainer  # noqa: E402

EPOCHS = 100


class Kill(Method):
    """Sends SIGKILL to this process, a while after some steps."""

    name = "kill"
    watches_steps = True
    left, delay = 0, 0.0

    def on_step_end(self, event):
        self.left -= 1
        if self.left == 0:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def training(folder, *methods):
    """Return the training: 600 steps, a checkpoint after every other."""
    settings = {"epochs": EPOCHS, "save_every_steps": 2, "eval_every": EPOCHS, "ema": 0.9}
    return trainer(folder, methods=methods, **settings)


if __name__ == "__main__":
    kill = Kill(Section())
    kill.left, kill.delay = int(sys.argv[2]), int(sys.argv[3]) / 1000
    training(Path(sys.argv[1]), kill).fit()
