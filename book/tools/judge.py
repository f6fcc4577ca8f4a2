"""The judge of one notebook of a student's: runs the checks on the answers, in two fresh processes.

This process imports posekit and its checks from disk and runs none of the student's code. The
answers run in another process (`student_process.py`), which has no checks. The two exchange data:
arguments one way, values the other. So nothing that an answer does to `check_*`, to NumPy or to
posekit reaches the checks that judge it, and no answer can print its own mark.

`judge(notebook, solution)` starts such a process and returns its results; it always returns, also
when the student's code crashes, never ends or is no notebook at all.
"""

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import json
import linecache
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import nbformat
import wire
from notebooks import BEGIN, END
from own_answers import OWN_ANSWERS

TOOLS = Path(__file__).resolve().parent
CELL_LIMIT_S = 60.0
"""Seconds that one cell of a student's may run."""
CALL_LIMIT_S = 20.0
"""Seconds that one call of a student's function may run. Longer than in the notebook
(`checks.TIME_LIMIT_S`), because a class is graded on a busy machine."""
EXERCISE_LIMIT_S = 120.0
"""Seconds that the judge takes for one exercise."""

SOLVED, WRONG, EMPTY, COPIED, BROKEN = "solved", "wrong", "empty", "posekit's own", "not judged"


@dataclass
class Exercise:
    """One exercise of a notebook, as the book has it.

    Args:
        grade_id: nbgrader's name of the cell with the check.
        check: `chNN.check_name`.
        answers: names that the check takes.
        points: what a right answer is worth.
        solution_id: nbgrader's name of the cell with the answer.
        title: heading of the task.
    """

    grade_id: str
    check: str
    answers: list[str]
    points: float
    solution_id: str
    title: str


@dataclass
class Result:
    """What became of one exercise.

    Args:
        exercise: the exercise.
        verdict: `SOLVED`, `WRONG`, `EMPTY`, `COPIED` or `BROKEN`.
        points: what it is worth: all of the exercise's points, or none.
        message: what the check says.
        note: to the teacher: what is worth a look.
    """

    exercise: Exercise
    verdict: str
    points: float
    message: str
    note: str = ""


# ---- reading notebooks ---------------------------------------------------------------------------


def exercises(solution: nbformat.NotebookNode) -> list[Exercise]:
    """The exercises of a notebook of the book."""
    found, title, last = [], "", ""
    for cell in solution.cells:
        grader = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            title = cell.source.splitlines()[0][3:]
        if grader.get("solution"):
            last = grader["grade_id"]
        if grader.get("grade"):
            (call,) = (
                node
                for node in ast.walk(ast.parse(cell.source))
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr.startswith("check_")
            )
            check = f"{ast.unparse(call.func.value)}.{call.func.attr}"
            names = [ast.unparse(argument) for argument in call.args]
            points = float(grader["points"])
            found.append(Exercise(grader["grade_id"], check, names, points, last, title))
    return found


def _tree(source: str) -> str:
    """What a cell says without comments, docstrings and layout; empty if it is not Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _without_markers(source: str) -> str:
    return "\n".join(line for line in source.split("\n") if line.strip() not in (BEGIN, END))


def _python(source: str) -> str:
    """A cell without magic and shell commands at the beginning of a line."""
    return "\n".join("pass" if line[:1] in ("%", "!") else line for line in source.split("\n"))


@dataclass
class Cells:
    """The code cells that matter for grading.

    Args:
        book: (file name, source) of the book's cells without solutions.
        student: (file name, source, grade id or None) of the student's, in order.
        answers: grade id of a cell with an answer -> its source.
    """

    book: list[tuple[str, str]] = field(default_factory=list)
    student: list[tuple[str, str, str | None]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)


def cells_of(notebook: nbformat.NotebookNode, solution: nbformat.NotebookNode) -> Cells:
    """Sort the cells of a student's notebook.

    Cells with an answer are known by nbgrader's metadata. All other cells of the book are taken
    from the book, not from the student. Cells that the student added may hold helper functions.
    """
    cells = Cells()
    known = {cell.get("id") for cell in solution.cells}
    for i, cell in enumerate(solution.cells):
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader"):
            cells.book.append((f"<cell {i + 1} of the book>", cell.source))
    for i, cell in enumerate(notebook.cells):
        if cell.get("cell_type") != "code":
            continue
        grader = cell.get("metadata", {}).get("nbgrader", {})
        source = str(cell.get("source", ""))
        if grader.get("solution"):
            cells.answers[grader.get("grade_id", "")] = source
            cells.student.append((f"<cell {i + 1}>", _python(source), grader.get("grade_id", "")))
        elif not grader and cell.get("id") not in known:
            cells.student.append((f"<cell {i + 1}>", _python(source), None))
    return cells


# ---- the student's process -----------------------------------------------------------------------


class StudentError(Exception):
    """The student's process has ended or does not answer."""


class TooLateError(StudentError):
    """It did not answer in time."""


def environment(folder: Path) -> dict[str, str]:
    """Environment variables of a process that runs foreign code: no secrets of the account."""
    names = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "POSEKIT_CACHE", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    home = str(folder)
    return kept | {
        "HOME": home,
        "USERPROFILE": home,
        "TMPDIR": home,
        "TEMP": home,
        "MPLBACKEND": "agg",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONHASHSEED": "0",
        "POSEKIT_PROGRESS": "off",
    }


class Student:
    """The process that runs the student's answers."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(TOOLS / "student_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment(folder),
            start_new_session=True,
        )
        self.incoming: queue.Queue = queue.Queue()
        self.lent: list[object] = []
        self.raised: list[BaseException] = []
        self.used: set[str] = set()
        self.too_late = False
        self.busy = False
        self.sources: dict[str, str] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self.incoming.put(wire.read_plain(wire.receive(self.process.stdout)))
        except Exception:
            self.incoming.put(None)

    def end(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _stand_in(self, obj: object) -> tuple | None:
        """What to send in place of an object that stays here."""
        module = type(obj).__module__.partition(".")[0]
        if isinstance(obj, RemoteObject):
            return ("held", obj.__dict__["_number"])
        if isinstance(obj, types.FunctionType | types.MethodType):
            if (obj.__module__ or "").partition(".")[0] in ("posekit", "__main__", "judge"):
                return ("function", self._lend(obj), obj.__name__)
            return None
        if module in ("keras", "tensorflow"):
            import keras
            import tensorflow as tf

            if isinstance(obj, keras.Model):
                return ("model", keras.saving.serialize_keras_object(obj), obj.get_weights())
            if isinstance(obj, keras.KerasTensor):
                return ("input", tuple(obj.shape), obj.dtype)
            if isinstance(obj, tf.Variable):
                return ("variable", obj.numpy())
            if isinstance(obj, tf.Tensor):
                return ("tensor", obj.numpy())
        if type(obj).__module__.startswith("posekit.notebook.checks") and hasattr(obj, "__iter__"):
            return ("dataset", self._lend(obj))
        return None

    def _lend(self, obj: object) -> int:
        self.lent.append(obj)
        return len(self.lent) - 1

    def ask(self, *message: object, seconds: float) -> tuple:
        """Send a message and wait for the answer, serving calls of lent functions meanwhile.

        Raises:
            StudentError: if the process ends, or does not answer in time.
        """
        if self.busy:  # it still owes the answer to a call that took too long
            self.end()
            raise StudentError("did not end in time")
        end = time.monotonic() + seconds
        self.busy = True
        self._send(message)
        while True:
            try:
                answer = self.incoming.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                self.too_late = True
                self.end()
                raise TooLateError(f"did not end within {seconds:g} seconds") from None
            if not isinstance(answer, tuple) or not answer:
                self.end()
                raise StudentError("stopped Python itself")
            if answer[0] != "callback":
                self.busy = False
                return answer
            self._send(self._serve(*answer[1:]))

    def _send(self, message: object) -> None:
        try:
            wire.send(self.process.stdin, wire.dump(message, self._stand_in))
        except OSError:
            self.end()
            raise StudentError("stopped Python itself") from None

    def _serve(self, number: int, what: str, given: tuple) -> tuple:
        try:
            function = self.lent[number]
            if what == "iterate":
                return ("value", list(function))
            args, kwargs = self.restore(given)
            return ("value", function(*args, **kwargs))
        except Exception as error:
            self.raised.append(error)
            return ("raised", len(self.raised) - 1, str(error)[:500])

    def restore(self, value: object) -> object:
        """A value of the student's process, as an object of this one."""
        return wire.restore(value, lambda remote: remote_object(self, remote))

    def raise_from(self, kinds: list, text: str, place: tuple | None, number: object) -> None:
        """Raise what the student's code raised, at the student's line."""
        if isinstance(number, int) and 0 <= number < len(self.raised):
            error: BaseException = self.raised[number]
        else:
            error = _exception([str(kind) for kind in kinds], str(text))
        if place and place[0] in self.sources:
            filename, line = str(place[0]), min(int(place[1]), 100_000)
            source = "\n" * (line - 1) + "raise error"
            exec(compile(source, filename, "exec"), {"error": error})
        raise error

    def call(self, proxy: "RemoteObject", args: tuple, kwargs: dict) -> object:
        """Call a function of the student's, and bring home what it changed."""
        number = proxy.__dict__["_number"]
        from posekit.notebook import checks

        try:
            kind, *rest = self.ask("call", number, args, kwargs, seconds=CALL_LIMIT_S)
        except TooLateError:
            raise checks._TimeUpError from None  # the check has a hint for it
        self.used |= {str(name) for name in rest[-1]}
        if kind == "raised":
            self.raise_from(*rest[:4])
        answer, changed, gradients, _ = rest
        for i, value in changed.items():
            _bring_home(args[int(i)], self.restore(value))
        if isinstance(answer, dict) and "\0network" in answer:
            return _connected(answer["\0network"], self.restore(answer["weights"]), args)
        answer = self.restore(answer)
        if gradients is not None:
            return _differentiable(answer, self.restore(gradients), args)
        return answer


def _bring_home(here: object, there: object) -> None:
    """Change an argument as the student's code changed its copy."""
    import numpy as np

    if isinstance(here, np.ndarray):
        if np.shape(there) == here.shape:
            here[...] = there
    elif isinstance(here, tuple):
        for mine, theirs in zip(here, there, strict=True):
            _bring_home(mine, theirs)
    elif isinstance(here, list):
        here[:] = there
    elif isinstance(here, dict):
        here.clear()
        here.update(there)
    elif hasattr(here, "bit_generator"):
        state = json.loads(there)
        here.bit_generator.state = state
    elif hasattr(here, "set_weights"):
        here.set_weights(there)


_NETWORK_MODULES = ("keras.layers", "keras.initializers", "keras.src.ops.", "keras.src.layers.")
_NETWORK_CLASSES = {"Functional", "DTypePolicy", "__keras_tensor__", "__tensor__", "__numpy__"}
_NO_LAYERS = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}


def _connected(config: str, weights: list, args: tuple) -> object:
    """A network of the student's process, built again here on the check's own input.

    Only Keras' own layers and operations are built; a description cannot make anything else.
    """
    import keras

    description = json.loads(config)
    pending = [description]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            name, module = part.get("class_name"), str(part.get("module"))
            if name is not None and name not in _NETWORK_CLASSES:
                if name in _NO_LAYERS or not module.startswith(_NETWORK_MODULES):
                    raise TypeError(f"{name} is none of Keras' own layers; use those")
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    model = keras.saving.deserialize_keras_object(description, safe_mode=True)
    inputs = [value for value in args if isinstance(value, keras.KerasTensor)]
    copy = keras.models.clone_model(model, input_tensors=inputs[0] if len(inputs) == 1 else inputs)
    copy.set_weights(weights)
    return copy.output


def _differentiable(value: object, gradients: list, args: tuple) -> object:
    """A number whose gradient by the check's variables is the one that the student's has."""
    import tensorflow as tf

    variables = [arg for arg in args if isinstance(arg, tf.Variable)]
    if all(gradient is None for gradient in gradients):
        return tf.constant(value)
    known = [
        tf.zeros_like(v) if g is None else tf.convert_to_tensor(g, v.dtype)
        for v, g in zip(variables, gradients, strict=True)
    ]

    @tf.custom_gradient
    def replay(*tensors: object) -> tuple:
        def gradient(upstream: object) -> list:
            return [upstream * g for g in known]

        return tf.constant(value), gradient

    return replay(*[tf.convert_to_tensor(variable) for variable in variables])


def _exception(kinds: list[str], text: str) -> BaseException:
    """An exception of the same name, below the built-in one that the student's is derived from."""
    import builtins

    base: type = RuntimeError
    for kind in kinds:
        known = getattr(builtins, kind, None)
        if isinstance(known, type) and issubclass(known, Exception | SystemExit):
            base = known
            break
    name = kinds[0] if kinds and kinds[0].isidentifier() else "RuntimeError"

    def init(self: BaseException, *_: object) -> None:
        pass

    made = type(name, (base,), {"__init__": init, "__str__": lambda self: text})
    return made.__new__(made)


class _Default:
    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


class RemoteObject:
    """An object of the student's process, without anything that can be called."""

    def __init__(self, student: Student, number: int):
        self.__dict__.update(_student=student, _number=number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _called(self: RemoteObject, *args: object, **kwargs: object) -> object:
    return self.__dict__["_student"].call(self, args, kwargs)


def remote_object(student: Student, remote: wire.Remote) -> RemoteObject:
    """What stands here for an object of the student's process.

    Its type's name, its signature and the lines of its code are the student's, so that a check
    gives the same hints as in the notebook.
    """
    about = remote.about if isinstance(remote.about, dict) else {}
    name = str(about.get("kind", "object"))
    body = {"__call__": _called} if about.get("callable") else {}
    made = type(name, (RemoteObject,), body)(student, int(remote.number))
    if "parameters" in about:
        empty = inspect.Parameter.empty
        with contextlib.suppress(ValueError, TypeError):
            made.__dict__["__signature__"] = inspect.Signature(
                [
                    inspect.Parameter(
                        str(name),
                        inspect._ParameterKind(kind),
                        default=empty if default is None else _Default(str(default)),
                    )
                    for name, kind, default in about["parameters"]
                ]
            )
    if "code" in about:
        code = _code_of(student.sources, *about["code"])
        if code is not None:
            made.__dict__["__code__"] = code
    return made


def _code_of(sources: dict[str, str], filename: str, line: int, name: str):
    """The code object of a function, compiled from the cell and never run."""
    if filename not in sources:
        return None
    pending = [compile(sources[filename], filename, "exec")]
    while pending:
        code = pending.pop()
        if code.co_name == name and code.co_firstlineno == line:
            return code
        pending += [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return None


# ---- judging -------------------------------------------------------------------------------------


class Judge:
    """Judges the exercises of one notebook."""

    def __init__(self, cells: Cells, tasks: list[Exercise], seed: int | None):
        from posekit.notebook import checks

        self.cells, self.tasks, self.seed = cells, tasks, seed
        self.checks = checks
        self.student: Student | None = None
        self.failed: dict[str, str] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="student"))
        checks.TIME_LIMIT_S = CALL_LIMIT_S
        self.sources: dict[str, str] = {}
        checks._is_own = self.sources.__contains__

    def start(self) -> Student:
        """A process in which all cells have run, but those that stop it."""
        for _ in range(len(self.cells.student) + 2):
            student = Student(self.folder)
            student.sources = self.sources
            try:
                self._run_cells(student)
                return student
            except StudentError:
                student.end()
        raise StudentError("stopped Python itself")

    def _run_cells(self, student: Student) -> None:
        own = sorted({name for task in self.tasks for name in OWN_ANSWERS.get(task.check, ())})
        answer = student.ask("prepare", self.cells.book, own, seconds=3 * CELL_LIMIT_S)
        if answer[0] != "done":
            raise RuntimeError(f"the book's own cells do not run: {answer[1][:1]} {answer[2]}")
        for filename, source, grade_id in self.cells.student:
            if filename in self.failed:
                continue
            self.sources[filename] = source
            linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
            self.failed[filename] = "stops Python itself, or does not end"
            kind, *rest = student.ask(
                "run", filename, source, grade_id is not None, seconds=CELL_LIMIT_S
            )
            del self.failed[filename]
            if kind == "raised":
                kinds, text, place = rest[:3]
                where = f" (line {place[1]})" if place else ""
                self.failed[filename] = f"stops with {kinds[0]}: {text}{where}"

    def judge(self, task: Exercise, solution_source: str) -> Result:
        """Judge one exercise."""
        source = self.cells.answers.get(task.solution_id)
        if source is None:
            message = "The cell with the answer is missing, or has lost nbgrader's metadata."
            return Result(task, EMPTY, 0, message)
        try:
            result = self._judge(task)
        except StudentError as error:
            result = Result(task, BROKEN, 0, f"The answer could not be judged: it {error}.")
        same = _tree(source) and _tree(source) == _tree(_without_markers(solution_source))
        if result.points and same:
            result.note = "word for word the book's solution"
        return result

    def _judge(self, task: Exercise) -> Result:
        if self.student is None or not self.student.alive or self.student.busy:
            self.end()
            self.student = self.start()
        student = self.student
        own = sorted(OWN_ANSWERS.get(task.check, ()))
        student.used.clear()
        answers = []
        for name in task.answers:
            kind, *rest = student.ask("get", name, own, seconds=CELL_LIMIT_S)
            if kind == "own":
                message = f"`{name}` is posekit's own function. Write your own."
                return Result(task, COPIED, 0, message)
            if kind != "value":
                message = self._why_missing(task, name)
                return Result(task, WRONG, 0, message)
            answers.append(student.restore(rest[0]))
        module, _, function = task.check.partition(".")
        check = getattr(importlib.import_module(f"posekit.notebook.checks.{module}"), function)
        said = io.StringIO()
        verdict, message = WRONG, ""
        try:
            with contextlib.redirect_stdout(said):
                check(*answers)
                if self.seed is not None:
                    self._check_again(check, answers)
            verdict, message = SOLVED, said.getvalue().strip().split("\n")[0]
        except self.checks.CheckFailed as error:
            message = str(error)
            if "has no value yet" in message:
                verdict = EMPTY
        except StudentError:
            raise
        except (Exception, self.checks._TimeUpError) as error:
            message = f"The check stopped with {type(error).__name__}: {error}"
        if verdict != SOLVED and not student.alive and not student.too_late:
            message = "The answer stopped Python itself."
        if student.used:
            names = " and ".join(f"`posekit.{name}`" for name in sorted(student.used))
            if verdict != SOLVED:
                return Result(task, COPIED, 0, f"The answer calls {names}. Write your own.")
            return Result(task, SOLVED, task.points, message, f"also calls {names}")
        return Result(task, verdict, task.points if verdict == SOLVED else 0, message)

    def _check_again(self, check: Callable, answers: list) -> None:
        """Run a check with other numbers, and if they are unlucky, once more with others."""
        try:
            with fresh_numbers(self.seed):
                check(*answers)
        except self.checks.CheckFailed:
            if self.student.busy or not self.student.alive:
                raise
            with fresh_numbers(self.seed + 1):
                check(*answers)

    def _why_missing(self, task: Exercise, name: str) -> str:
        """Why there is no answer of this name: what stopped its cell, if anything did."""
        for filename, _, grade_id in self.cells.student:
            if grade_id == task.solution_id and filename in self.failed:
                return f"There is no `{name}`: its cell {self.failed[filename]}."
        return f"There is no `{name}`."

    def end(self) -> None:
        """End the student's process."""
        if self.student is not None:
            self.student.end()


@contextlib.contextmanager
def fresh_numbers(seed: int) -> Iterator[None]:
    """Let the checks draw other numbers than those that every student can see."""
    import numpy as np

    original = np.random.default_rng

    def drawn(old: object = None) -> object:
        mixed = [seed, *(old if isinstance(old, list | tuple) else [old or 0])]
        return original(mixed)

    np.random.default_rng = drawn
    try:
        yield
    finally:
        np.random.default_rng = original


def judge_here(notebook: Path, solution: Path, seed: int | None = None) -> Iterator[Result]:
    """Judge a notebook in this process; see `judge`."""
    book = nbformat.read(solution, as_version=4)
    tasks = exercises(book)
    sources = {
        cell.metadata.nbgrader["grade_id"]: cell.source
        for cell in book.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    try:
        cells = cells_of(nbformat.read(notebook, as_version=4), book)
    except Exception as error:
        kind = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        for task in tasks:
            yield Result(task, EMPTY, 0, f"The notebook {kind}.")
        return
    judge = Judge(cells, tasks, seed)
    try:
        for task in tasks:
            yield judge.judge(task, sources[task.solution_id])
    finally:
        judge.end()


def judge(notebook: Path, solution: Path, seed: int | None = None) -> list[Result]:
    """Judge a student's notebook in a fresh process.

    Args:
        notebook: the student's; it may be missing, empty or broken.
        solution: the same notebook of the book, with its solutions.
        seed: run the checks again with numbers from this seed; None: only with those that students
            can see.

    Returns:
        One result for each exercise, always.
    """
    tasks = exercises(nbformat.read(solution, as_version=4))
    command = [sys.executable, "-B", str(TOOLS / "judge.py"), str(notebook), str(solution)]
    command += [] if seed is None else ["--seed", str(seed)]
    with tempfile.TemporaryDirectory(prefix="judge") as folder:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            text=True,
            encoding="utf-8",
            env={**os.environ, **environment(Path(folder)), "PYTHONIOENCODING": "utf-8"},
        )
        try:
            out, err = process.communicate(timeout=EXERCISE_LIMIT_S * (len(tasks) + 2))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    results = []
    for line in out.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            results.append(Result(**{**row, "exercise": Exercise(**row["exercise"])}))
    last = next(reversed(err.strip().splitlines()), "")
    for task in tasks[len(results) :]:
        results.append(Result(task, BROKEN, 0, "The answer could not be judged.", last[:300]))
    return results


def main() -> int:
    """Judge one notebook; write a line of JSON for each exercise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", type=Path, help="the student's")
    parser.add_argument(
        "solution", type=Path, help="the book's, chapters/exercises/exNN_name.ipynb"
    )
    parser.add_argument("--seed", type=int, help="also judge with numbers from this seed")
    args = parser.parse_args()
    out: Callable = sys.stdout.write
    for result in judge_here(args.notebook.resolve(), args.solution.resolve(), args.seed):
        out(json.dumps(asdict(result)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
