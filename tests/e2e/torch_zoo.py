"""PyTorch sources for the tests: run as a script, it writes files; its functions are sources too.

A process of its own makes the files: PyTorch warns about TorchScript, and tests turn warnings into
errors.
"""

import os
import pickle
import sys
from pathlib import Path

import torch
from torch import nn

MODELS = Path(os.environ.get("EDGEKIT_MODELS", Path(__file__).parents[2] / ".cache" / "models"))


class Net(nn.Module):
    """Every layer that behaves in another way while training."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        x = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        return self.head(self.drop(x))


class Words(nn.Module):
    """Indices, a keyword, a nested result with a number in it."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

    def forward(self, ids, bias, *, scale=1.0):
        y = self.layers(self.embedding(ids) + bias) * scale
        return {"y": y, "rest": [y + 1, y.argmax(-1)], "count": 3}


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1, 3))

    def forward(self, x):
        self.seen.add_(x)
        return x + self.seen


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.zeros(1, 3)

    def forward(self, x):
        self.last = self.last + x
        return self.last


class Sum(nn.Module):
    def forward(self, parts, *more):
        return parts["a"] + parts["b"] * more[0]


class Evil:
    """Unpickling it leaves a mark."""

    def __reduce__(self):
        return (os.mkdir, ("was_run",))


def seeded(module, inputs):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module, inputs


def net():
    return seeded(Net(), torch.zeros(1, 3, 8, 8))


def words():
    return seeded(Words(), {"ids": torch.tensor([[7, 9]]), "bias": torch.ones(1, 2, 4)})


def program():
    module, inputs = net()
    return torch.export.export(module.eval(), (inputs,)), ()


def nested():
    return Sum(), ({"a": torch.ones(1, 3), "b": torch.ones(1, 3)}, torch.ones(1, 3))


def half():
    return nn.Linear(4, 2).half(), torch.ones(1, 4).half()


def bare():
    return Net()


def counts():
    return Counts(), torch.ones(1, 3)


def remembers():
    return Remembers(), torch.ones(1, 3)


def unsupported():
    return Apply(lambda x: torch.erfinv(torch.linalg.svdvals(x))), torch.ones(1, 4, 4)


class Two(nn.Module):
    """Operators that LiteRT lacks in two layers, behind one that it has."""

    def __init__(self, *layers):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return self.body(torch.relu(self.first(x)))


def two_unsupported():
    layers = (Apply(torch.erfinv), nn.Sigmoid(), Apply(torch.special.i1), Apply(torch.erfinv))
    return Two(*layers), torch.ones(1, 4)


def selects():
    return Two(Apply(lambda x: torch.erfinv(x[x > 0]))), torch.ones(1, 4)


def spectrum():
    return Apply(lambda x: torch.view_as_real(torch.fft.rfft(x))), torch.ones(1, 4)


def random():
    return Apply(lambda x: x + torch.randn_like(x)), torch.ones(1, 3)


def branches():
    return Apply(lambda x: x if x.sum() > 0 else -x), torch.ones(1, 3)


def complex_numbers():
    return Apply(lambda x: torch.complex(x, x)), torch.ones(1, 3)


def wrong_shape():
    return nn.Linear(4, 2), torch.ones(1, 5)


def no_tensors():
    return nn.Linear(4, 2), (3,)


def text_as_inputs():
    return nn.Linear(4, 2), "ones"


class _Face(nn.Module):
    """MTCNN's networks, as facenet-pytorch names their layers."""

    def __init__(self, channels, kernels, pools, dense, heads):
        super().__init__()
        self.depth = len(kernels)
        for i, (kernel, pool) in enumerate(zip(kernels, pools, strict=True)):
            setattr(self, f"conv{i + 1}", nn.Conv2d(channels[i], channels[i + 1], kernel))
            setattr(self, f"prelu{i + 1}", nn.PReLU(channels[i + 1]))
            setattr(self, f"pool{i + 1}", nn.MaxPool2d(pool, 2, ceil_mode=True) if pool
                    else nn.Identity())
        self.last = self.depth + 1
        self.dense = dense
        if dense:
            setattr(self, f"dense{self.last}", nn.Linear(*dense))
            setattr(self, f"prelu{self.last}", nn.PReLU(dense[1]))
        for i, size in enumerate(heads):
            head = nn.Linear(dense[1], size) if dense else nn.Conv2d(channels[-1], size, 1)
            name = f"dense{self.last + 1}" if dense else f"conv{self.last}"
            setattr(self, f"{name}_{i + 1}", head)
        self.heads = [f"{name}_{i + 1}" for i in range(len(heads))]

    def forward(self, x):
        for i in range(1, self.depth + 1):
            x = getattr(self, f"conv{i}")(x)
            x = getattr(self, f"pool{i}")(getattr(self, f"prelu{i}")(x))
        if self.dense:
            x = x.permute(0, 3, 2, 1).contiguous().view(x.shape[0], -1)
            x = getattr(self, f"prelu{self.last}")(getattr(self, f"dense{self.last}")(x))
        face, *rest = [getattr(self, head)(x) for head in self.heads]
        return (*rest, torch.softmax(face, 1))


def _face(name, size, *shape):
    module = _Face(*shape)
    module.load_state_dict(torch.load(MODELS / "facenet" / f"{name}.pt", weights_only=True))
    return module, torch.zeros(1, 3, size, size)


def pnet():
    return _face("pnet", 48, (3, 10, 16, 32), (3, 3, 3), (2, 0, 0), None, (2, 4))


def rnet():
    return _face("rnet", 24, (3, 28, 48, 64), (3, 3, 2), (3, 3, 0), (576, 128), (2, 4))


def onet():
    return _face("onet", 48, (3, 32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2, 0), (1152, 256),
                 (2, 4, 10))


def write_programs(folder):
    module, inputs = net()
    module.eval()
    batch = torch.export.Dim("batch")
    side = torch.export.Dim("side", min=4, max=64)
    torch.export.save(torch.export.export(module, (inputs,)), folder / "net.pt2")
    torch.export.save(
        torch.export.export(module, (torch.zeros(2, 3, 8, 8),),
                            dynamic_shapes=({0: batch, 2: 2 * side, 3: 2 * side},)),
        folder / "open.pt2")
    torch.export.save(torch.export.export(module.train(), (torch.zeros(2, 3, 8, 8),)),
                      folder / "training.pt2")
    module.eval()
    inputs_of_words = (torch.tensor([[7, 9]]), torch.ones(1, 2, 4))
    torch.export.save(torch.export.export(Words().eval(), inputs_of_words, {"scale": 2.0}),
                      folder / "words.pt2")
    torch.export.save(torch.export.export(nn.Linear(4, 2).half(), (torch.ones(1, 4).half(),)),
                      folder / "half.pt2")
    torch.jit.trace(module, inputs).save(folder / "traced.pt")
    torch.jit.script(module).save(folder / "scripted.jit")
    torch.jit.script(Saves()).save(folder / "saves.jit")
    torch.save(module.state_dict(), folder / "weights.pt")
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, folder / "checkpoint.pth")
    torch.save(module, folder / "module.pt")
    torch.save(Evil(), folder / "evil.pt")
    (folder / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))


class Saves(nn.Module):
    def forward(self, x):
        torch.save(x, "was_saved")
        return x


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32}  # fmt: skip


def write_folders(folder):
    import transformers as hf

    torch.manual_seed(0)
    bert = hf.BertConfig(vocab_size=50, max_position_embeddings=32, **TINY)
    named = hf.BertConfig(vocab_size=50, max_position_embeddings=32, **TINY,
                          id2label={0: "bad", 1: "fine", 2: "good"})
    roberta = hf.RobertaConfig(vocab_size=50, max_position_embeddings=34, type_vocab_size=1,
                               **TINY)
    distil = hf.DistilBertConfig(vocab_size=50, max_position_embeddings=32, dim=16, n_layers=2,
                                 n_heads=2, hidden_dim=32)
    vit = hf.ViTConfig(image_size=16, patch_size=8, **TINY, id2label={0: "cat", 1: "dog"})
    bart = hf.BartConfig(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1,
                         encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
                         decoder_ffn_dim=32, max_position_embeddings=32)
    for name, model in {
        "features": hf.BertModel(bert),
        "classes": hf.BertForSequenceClassification(named),
        "words": hf.RobertaForTokenClassification(roberta),
        "answers": hf.DistilBertForQuestionAnswering(distil),
        "mask": hf.BertForMaskedLM(bert),
        "pictures": hf.ViTForImageClassification(vit),
        "bart": hf.BartModel(bart),
    }.items():
        model.save_pretrained(folder / name)
        (folder / name / "vocab.txt").write_text("[PAD]\n[UNK]\n")


if __name__ == "__main__":
    {"programs": write_programs, "folders": write_folders}[sys.argv[1]](Path(sys.argv[2]))
