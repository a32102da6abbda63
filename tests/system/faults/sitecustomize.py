"""Faults for tests, put into a process through PYTHONPATH; the program itself has no hooks.

BANTER_TEST_POISON=WORD          generation raises when the context holds WORD
BANTER_TEST_HANG_ONCE=FILE       the first generation never returns; FILE remembers that it hung
BANTER_TEST_KILL=ROLE:N:FILE     SIGKILL at the N-th commit or socket write of "parent" or "worker", once
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import threading


class _After(importlib.abc.MetaPathFinder):
    """Calls `change(module)` once a module is imported."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader, change = spec.loader, self.change

        class Loader(importlib.abc.Loader):
            def create_module(self, spec):
                return loader.create_module(spec)

            def exec_module(self, module):
                loader.exec_module(module)
                change(module)

        spec.loader = Loader()
        return spec


def _around_generation(before):
    def change(batching):
        original = batching.Batcher.run

        async def run(self, function, *args, **kwargs):
            def wrapped(*inner_args, **inner_kwargs):
                before(self, function, *inner_args)
                return function(*inner_args, **inner_kwargs)

            return await original(self, wrapped, *args, **kwargs)

        batching.Batcher.run = run

    sys.meta_path.insert(0, _After("bot.generator.batching", change))


poison = os.environ.get("BANTER_TEST_POISON")
if poison:

    def _raise_if_poisoned(batcher, function, *args):
        if getattr(function, "__name__", "") != "generate":
            return
        for request in args[0]:
            if poison in batcher._generator.dialect.decode(list(request.input_ids)):
                raise RuntimeError("poisoned context")

    _around_generation(_raise_if_poisoned)

hang = os.environ.get("BANTER_TEST_HANG_ONCE")
if hang:

    def _hang_once(batcher, function, *args):
        if getattr(function, "__name__", "") != "generate" or os.path.exists(hang):
            return
        open(hang, "w").close()
        threading.Event().wait()

    _around_generation(_hang_once)

kill = os.environ.get("BANTER_TEST_KILL")
if kill:
    _role, _number, _file = kill.split(":", 2)
    _mine = "worker" if "bot.worker" in sys.argv or any("bot.worker" in part for part in sys.orig_argv) else "parent"

    if _mine == _role and not os.path.exists(_file):
        _count = 0
        _lock = threading.Lock()

        def _step():
            global _count
            with _lock:
                _count += 1
                if _count == int(_number):
                    open(_file, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)

        def _count_commits(engine_module):
            from sqlalchemy import event

            event.listen(engine_module.Engine, "commit", lambda _connection: _step())

        sys.meta_path.insert(0, _After("sqlalchemy.engine", _count_commits))

        import socket

        _send = socket.socket.send

        def _counted_send(self, *args):
            sent = _send(self, *args)
            _step()
            return sent

        socket.socket.send = _counted_send
