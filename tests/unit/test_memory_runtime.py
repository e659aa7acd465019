"""Arena plans against the arenas that LiteRT makes."""

import random
from pathlib import Path

import numpy as np
import pytest
from flatbuffers_builder import FlatbufferBuilder, small_net

from edgekit.core.graph import read_graph
from edgekit.profilers._host_arena import arena_bytes
from edgekit.profilers.memory import plan


class RandomNet:
    """A graph of kernels that ask for no temporaries, so that the arena is activations alone."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.file = FlatbufferBuilder()
        self.known: list[tuple[int, tuple[int, ...]]] = []
        for i in range(self.random.randint(1, 3)):
            shape = (1, self.random.choice([4, 16, 100, 1000]), self.random.choice([1, 4, 8]))
            self.known.append((self.file.input(f"in{i}", shape), shape))
        inputs = len(self.known)
        for _ in range(self.random.randint(2, 20)):
            self.random.choice([self.unary, self.binary, self.reshape, self.concat, self.split])()
        made = [index for index, _ in self.known[inputs:]] or [self.unary()]
        self.file.output(*{made[-1], self.random.choice(made)})
        self.data = self.file.build()

    def tensor(self, shape: tuple[int, ...]) -> int:
        index = self.file.tensor(f"t{self.random.random()}", shape)
        self.known.append((index, shape))
        return index

    def pick(self) -> tuple[int, tuple[int, ...]]:
        return self.random.choice(self.known[-6:])

    def unary(self) -> int:
        at, shape = self.pick()
        to = self.tensor(shape)
        self.file.operator(self.random.choice(["TANH", "RELU", "SOFTMAX"]), [at], [to])
        return to

    def binary(self) -> None:
        at, shape = self.pick()
        other = self.random.choice([i for i, s in self.known if s == shape])
        self.file.operator("ADD", [at, other], [self.tensor(shape)], "AddOptions")

    def reshape(self) -> None:
        at, shape = self.pick()
        new = (int(np.prod(shape)), 1) if self.random.random() < 0.5 else (1, int(np.prod(shape)))
        constant = self.file.constant("shape", np.array(new, np.int32))
        self.file.operator("RESHAPE", [at, constant], [self.tensor(new)], "ReshapeOptions",
                           newShape=list(new))

    def concat(self) -> None:
        at, shape = self.pick()
        to = self.tensor((2 * shape[0], *shape[1:]))
        self.file.operator("CONCATENATION", [at, at], [to], "ConcatenationOptions", axis=0)

    def split(self) -> None:
        at, shape = self.pick()
        if shape[-1] % 2:
            return
        half = (*shape[:-1], shape[-1] // 2)
        axis = self.file.constant("axis", np.array(len(shape) - 1, np.int32))
        unread = self.file.tensor("unread", half)
        self.file.operator("SPLIT", [axis, at], [self.tensor(half), unread], "SplitOptions",
                           numSplits=2)


def litert_addresses(data: bytes | Path) -> list[tuple[int, int, int]]:
    """Where LiteRT puts the tensors, without a delegate (our own files: no child needed)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from edgekit.profilers._host_child import addresses

    source = {"model_path": str(data)} if isinstance(data, Path) else {"model_content": data}
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(**source, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    return addresses(interpreter)


def test_litert_plans_the_same_arena() -> None:
    """Of 60 random graphs: LiteRT breaks ties between equals by chance, which rarely matters."""
    same = 0
    for seed in range(60):
        data = RandomNet(seed).data
        graph = read_graph(data)
        measured = arena_bytes(graph, litert_addresses(data))
        planned = plan(graph).arena_bytes
        assert measured is not None
        assert abs(measured - planned) <= 0.1 * planned
        same += measured == planned
    assert same >= 57


def test_temporaries_of_kernels_come_on_top() -> None:
    """A 3×3 convolution without XNNPACK copies its windows (im2col)."""
    data = small_net()
    measured = arena_bytes(read_graph(data), litert_addresses(data))
    assert measured is not None
    assert measured == 38912
    assert plan(read_graph(data)).arena_bytes < measured


def test_an_arena_in_pieces_is_unknown() -> None:
    file = FlatbufferBuilder()
    x, a, b = file.input("x", (16,)), file.tensor("a", (32,)), file.tensor("b", (32,))
    file.operator("TANH", [x], [a])
    file.operator("TANH", [a], [b])
    file.output(b)
    graph = read_graph(file.build())
    together = [(x, 6400, 64), (a, 6464, 128), (b, 6592, 128)]
    assert arena_bytes(graph, together) == 320
    assert arena_bytes(graph, [*together[:2], (b, 999_936, 128)]) is None
    assert arena_bytes(graph, []) is None
    file.subgraph("another")
    assert arena_bytes(read_graph(file.build()), together) is None


@pytest.mark.slow
def test_real_networks(emotion_tflite: Path, pitch_tflite: Path) -> None:
    for path in (emotion_tflite, pitch_tflite):
        found = plan(read_graph(path.read_bytes()))
        assert 0 < found.lower_bound_bytes <= found.arena_bytes
    emotion = read_graph(emotion_tflite.read_bytes())
    measured = arena_bytes(emotion, litert_addresses(emotion_tflite))
    # Dynamic int8 without XNNPACK: quantized copies and im2col more than double the arena.
    assert measured == 1_291_392
    assert plan(emotion).arena_bytes == 534_784
