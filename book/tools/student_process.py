"""The process that runs a student's answers; started by `judge.py`, never by hand.

It knows the answers and no check. The judge sends it cells to run and arguments to call a function
with, and gets back values. Before the student's code runs, posekit's own answers are switched off,
and an audit hook refuses what no answer needs: other programs, the network, writing outside the
working folder, and reading the files that hold answers.
"""

import ast
import builtins
import functools
import importlib
import inspect
import itertools
import json
import linecache
import os
import pickle
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import wire

from posekit.notebook import checks

ROOT = Path(__file__).resolve().parents[2]
_MAX_ITEMS = 100_000


class OwnAnswerError(RuntimeError):
    """An answer calls posekit's own."""


class CallbackError(RuntimeError):
    """A function that the check handed in raised; the judge knows why."""

    def __init__(self, number: int, text: str):
        super().__init__(text)
        self.number = number


# ---- the channel ---------------------------------------------------------------------------------


class Channel:
    """Messages to and from the judge, and the objects that it may name."""

    def __init__(self):
        self.inward = os.fdopen(os.dup(0), "rb")
        self.outward = os.fdopen(os.dup(1), "wb")
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        self.held: dict[int, object] = {}

    def hold(self, value: object) -> wire.Remote:
        """Keep an object, and describe it."""
        self.held[id(value)] = value
        about = {"kind": type(value).__name__, "callable": callable(value)}
        if callable(value):
            about |= _described(value)
        return wire.Remote(id(value), about)

    def reply(self, *message: object) -> None:
        wire.send(self.outward, pickle.dumps(wire.plain(message, self.hold), protocol=5))

    def ask(self) -> tuple:
        return wire.load(wire.receive(self.inward), self.make)

    def make(self, pid: tuple) -> object:
        """What a stand-in of the judge stands for."""
        kind, *rest = pid
        if kind == "held":
            return self.held[rest[0]]
        if kind == "function":
            return _function(self, *rest)
        if kind == "dataset":
            return _Dataset(self, rest[0])
        if kind == "tensor":
            from keras import ops

            return ops.convert_to_tensor(rest[0])
        if kind == "variable":
            import tensorflow as tf

            return tf.Variable(rest[0])
        if kind == "input":
            import keras

            return keras.Input(batch_shape=rest[0], dtype=rest[1])
        if kind == "model":
            import keras

            model = keras.saving.deserialize_keras_object(rest[0])
            model.set_weights(rest[1])
            return model
        raise ValueError(kind)

    def back(self, number: int, given: tuple, what: str = "call") -> object:
        """Call a function of the judge."""
        self.reply("callback", number, what, tuple(given))
        answer = self.ask()
        if answer[0] == "raised":
            raise CallbackError(answer[1], answer[2])
        return answer[1]


def _function(channel: Channel, number: int, name: str) -> Callable:
    def callback(*given: object, **named: object) -> object:
        return channel.back(number, (given, named))

    callback.__name__ = callback.__qualname__ = name
    return callback


class _Dataset:
    """Can be looped over as often as wanted; each time the judge makes the items."""

    def __init__(self, channel: Channel, number: int):
        self._channel, self._number = channel, number

    def __iter__(self) -> Iterator:
        return iter(self._channel.back(self._number, (), "iterate"))


def _described(value: Callable) -> dict:
    about = {"name": getattr(value, "__name__", type(value).__name__)}
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return about
    about["parameters"] = [
        (p.name, int(p.kind), None if p.default is p.empty else repr(p.default)[:80])
        for p in parameters
    ]
    code = getattr(inspect.unwrap(value), "__code__", None) or getattr(
        getattr(value, "__init__", None), "__code__", None
    )
    if code is not None:
        about["code"] = (code.co_filename, code.co_firstlineno, code.co_name)
    return about


# ---- posekit's own answers, switched off ---------------------------------------------------------


def _resolve(name: str) -> tuple[object, str]:
    """The object that holds a function of posekit, and the function's name in it."""
    parts = name.split(".")
    holder: object = importlib.import_module("posekit")
    for i, part in enumerate(parts[:-1], 1):
        try:
            holder = importlib.import_module("posekit." + ".".join(parts[:i]))
        except ModuleNotFoundError:
            holder = getattr(holder, part)
    return holder, parts[-1]


class Guard:
    """Refuses calls of posekit's own answers by code that is not posekit's."""

    def __init__(self):
        self.off: set[str] = set()
        self.used: set[str] = set()
        self.originals: dict[str, Callable] = {}
        self.package = str(Path(importlib.import_module("posekit").__file__).parent)

    def switch_off(self, name: str) -> str | None:
        """Put a guard in front of a function; returns the file that holds it."""
        holder, attribute = _resolve(name)
        function = inspect.unwrap(getattr(holder, attribute))
        if inspect.isclass(function):
            function = function.__init__
        code = function.__code__
        if name in self.originals or code.co_freevars:
            return code.co_filename
        self.originals[name] = types.FunctionType(
            code, function.__globals__, code.co_name, function.__defaults__, function.__closure__
        )
        self.originals[name].__kwdefaults__ = function.__kwdefaults__
        source = (
            f"def {code.co_name}(*args, **kwargs):\n"
            f"    import __main__\n    return __main__.GUARD.call({name!r}, args, kwargs)\n"
        )
        names: dict = {}
        exec(compile(source, "<guard>", "exec"), names)
        function.__defaults__ = function.__kwdefaults__ = None
        function.__code__ = names[code.co_name].__code__
        return code.co_filename

    def call(self, name: str, args: tuple, kwargs: dict) -> object:
        caller = sys._getframe(2).f_code.co_filename
        if name in self.off and not caller.startswith(self.package):
            self.used.add(name)
            raise OwnAnswerError(f"posekit.{name} is switched off while answers are graded")
        return self.originals[name](*args, **kwargs)

    def is_posekits(self, value: object) -> bool:
        """Whether a function or class is one of posekit's."""
        while isinstance(value, functools.partial):
            value = value.func
        value = inspect.unwrap(value) if callable(value) else value
        code = getattr(value, "__code__", None)
        if code is not None and code.co_filename.startswith(self.package):
            return True
        if code is not None and code.co_filename == "<guard>":
            return True
        return str(getattr(value, "__module__", "")).partition(".")[0] == "posekit"


_REFUSED_EVENTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.startfile",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.killpg",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
)
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink")


def _arm(secret_files: set[str]) -> None:
    """Refuse from here on what no answer needs.

    Args:
        secret_files: files that hold answers: they cannot be opened any more.
    """
    own = str(Path.cwd().resolve())
    temporary = os.path.realpath(tempfile.gettempdir())
    folders = tuple(
        str(folder) + os.sep
        for folder in (
            ROOT / "posekit" / "notebook" / "checks",
            ROOT / "chapters",
            ROOT / "tests",
            ROOT / "_assignments",
        )
    )
    secret = {os.path.realpath(file) for file in secret_files}
    realpath, fspath, sep = os.path.realpath, os.fspath, os.sep
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def at_home(path: object) -> bool:
        real = realpath(fspath(path))
        if isinstance(real, bytes):
            real = os.fsdecode(real)
        return real.startswith((own + sep, temporary + sep)) or real in (own, os.devnull)

    def hook(event: str, args: tuple) -> None:
        if event in _REFUSED_EVENTS:
            raise PermissionError(f"{event} is not allowed while answers are graded")
        if event == "open" and not isinstance(args[0], int) and args[0] is not None:
            path = realpath(fspath(args[0]))
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            source = path.replace(f"{sep}__pycache__{sep}", sep)
            if source.endswith(".pyc"):
                source = source[: source.rindex(sep) + 1] + source.rsplit(sep, 1)[1].split(".")[0]
                source += ".py"
            if source in secret or path.startswith(folders) or path.endswith(".ipynb"):
                raise PermissionError(f"{Path(path).name} is not readable while answers are graded")
            if isinstance(args[2], int) and args[2] & writes and not at_home(path):
                raise PermissionError("only the working folder can be written to")
        elif event in _CHANGES and not at_home(args[0]):
            raise PermissionError("only the working folder can be changed")

    sys.addaudithook(hook)


# ---- running cells and calls ---------------------------------------------------------------------


def _definitions(tree: ast.Module, calls: bool) -> list[ast.stmt]:
    """Imports, functions, classes and assignments of a cell.

    Args:
        tree: the cell.
        calls: keep assignments that call something, too.
    """
    kept = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) or (
            isinstance(node, ast.Assign | ast.AnnAssign)
            and (calls or not any(isinstance(part, ast.Call) for part in ast.walk(node)))
        ):
            kept.append(node)
    return kept


def _place(error: BaseException, cells: set[str]) -> tuple[str, int] | None:
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename in cells
    ]
    return own[-1] if own else None


class Worker:
    """The names of the notebook, and the answers to the judge's messages."""

    def __init__(self):
        self.channel = Channel()
        self.names: dict = {"__name__": "__main__", "__builtins__": builtins}
        self.cells: set[str] = set()

    def serve(self) -> None:
        """Answer until the judge ends."""
        while True:
            try:
                kind, *given = self.channel.ask()
            except EOFError:
                return
            try:
                getattr(self, f"do_{kind}")(*given)
            except BaseException as error:
                self.report(error)

    def report(self, error: BaseException) -> None:
        """Tell the judge of an exception."""
        kinds = [kind.__name__ for kind in type(error).__mro__]
        number = error.number if isinstance(error, CallbackError) else None
        try:
            text = str(error)[:2000]
        except Exception:
            text = ""
        self.channel.reply(
            "raised", kinds, text, _place(error, self.cells), number, sorted(GUARD.used)
        )

    def do_prepare(self, cells: list[tuple[str, str]], own: list[str]) -> None:
        """Run the definitions of the book's cells, and switch posekit's own answers off."""
        for filename, source in cells:
            self.run(filename, source, calls=False)
        files = {GUARD.switch_off(name) for name in own}
        for name, module in list(sys.modules.items()):
            if name.startswith("posekit.notebook.checks.ch"):
                _strip(module)
        GUARD.off = set(own)
        _arm({file for file in files if file})
        self.channel.reply("done")

    def run(self, filename: str, source: str, calls: bool | None) -> None:
        """Run a cell: all of it where `calls` is None, else its definitions."""
        self.cells.add(filename)
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        tree = ast.parse(source, filename)
        if calls is None:
            exec(compile(tree, filename, "exec"), self.names)
            return
        for node in _definitions(tree, calls):
            try:
                part = ast.Module([node], type_ignores=[])
                exec(compile(part, filename, "exec"), self.names)
            except Exception:
                if not calls and isinstance(node, ast.Import | ast.ImportFrom):
                    raise

    def do_run(self, filename: str, source: str, whole: bool) -> None:
        """Run a cell of the student's."""
        self.run(filename, source, None if whole else True)
        self.channel.reply("done")

    def do_get(self, name: str, off: list[str]) -> None:
        """The student's answer by its name; from here on, these answers of posekit are off."""
        GUARD.off = set(off)
        GUARD.used.clear()
        if name not in self.names:
            self.channel.reply("missing")
        elif GUARD.is_posekits(self.names[name]):
            self.channel.reply("own")
        else:
            self.channel.reply("value", self.names[name])

    def do_call(self, number: int, args: tuple, kwargs: dict) -> None:
        """Call one of the student's functions."""
        function = self.channel.held[number]
        before = [checks._copy(value) for value in args]
        answer, gradients = _with_gradients(function, args, kwargs)
        changed: dict[int, object] = {}
        for i, (now, then) in enumerate(zip(args, before, strict=True)):
            if _is_model(now):
                changed[i] = [*now.get_weights()]
            elif hasattr(now, "bit_generator"):
                changed[i] = json.dumps(now.bit_generator.state, default=lambda a: a.tolist())
            elif not checks._same(now, then):
                changed[i] = now
        if isinstance(answer, Iterator):
            answer = list(itertools.islice(answer, _MAX_ITEMS))
        self.channel.reply("value", _symbolic(answer, args), changed, gradients, sorted(GUARD.used))


def _strip(module: types.ModuleType) -> None:
    """Leave only what the notebooks use of a module of checks."""

    def gone(*args: object, **kwargs: object) -> None:
        raise OwnAnswerError("the checks are not available while answers are graded")

    for name, value in list(vars(module).items()):
        hidden = name.startswith("_") and not name.startswith("__")
        if inspect.isfunction(value) and (hidden or name.startswith("check_")):
            if value.__module__ == module.__name__:
                setattr(module, name, gone)


def _is_model(value: object) -> bool:
    return hasattr(value, "get_weights") and hasattr(value, "layers")


def _symbolic(answer: object, args: tuple) -> object:
    """A network that was built on a symbolic input, as its configuration and weights."""
    if type(answer).__name__ != "KerasTensor":
        return answer
    import keras

    inputs = [value for value in args if isinstance(value, keras.KerasTensor)]
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, answer)
    config = json.dumps(keras.saving.serialize_keras_object(model))
    return {"\0network": config, "weights": [*model.get_weights()]}


def _with_gradients(function: Callable, args: tuple, kwargs: dict) -> tuple[object, object]:
    """Call a function; where it gets variables and returns a number, its gradient too."""
    tf = sys.modules.get("tensorflow")
    variables = [value for value in args if tf and isinstance(value, tf.Variable)]
    if not variables:
        return function(*args, **kwargs), None
    with tf.GradientTape() as tape:
        answer = function(*args, **kwargs)
    if not isinstance(answer, tf.Tensor) or answer.shape != ():
        return answer, None
    gradients = tape.gradient(answer, variables)
    return answer, [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]


if __name__ == "__main__":
    GUARD = Guard()
    Worker().serve()
