"""Layers that hold others, attention, models in models and classes of the user's own, for programs/sweep_keras.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from tests.support.sweep_keras_models import MAJOR, ORDERS, Case, L, keras, one, shape, stack, within


def wrappers() -> Iterator[Case]:
    """Layers that hold another."""

    def model() -> Any:
        return keras.Sequential([keras.Input((6, 5, 4)), L.Conv2D(3, 2), L.BatchNormalization(), L.ReLU(), L.Flatten()])

    def functional() -> Any:
        x = keras.Input((6, 5, 4))
        return keras.Model(x, L.GlobalAveragePooling2D()(L.Concatenate()([x, L.Conv2D(3, 1)(x)])))

    held: dict[str, Callable[[], Any]] = {
        "Conv2D": lambda: L.Conv2D(3, 2, activation="relu"),
        "DepthwiseConv2D": lambda: L.DepthwiseConv2D(3, padding="same"),
        "SeparableConv2D": lambda: L.SeparableConv2D(3, 3),
        "Dense": lambda: L.Dense(3, activation="softmax"),
        "BatchNormalization": L.BatchNormalization,
        "LayerNormalization": L.LayerNormalization,
        "MaxPooling2D": L.MaxPooling2D,
        "GlobalAveragePooling2D": L.GlobalAveragePooling2D,
        "Flatten": L.Flatten,
        "Reshape": lambda: L.Reshape((-1, 4)),
        "Dropout": lambda: L.Dropout(0.5),
        "ReLU": L.ReLU,
        "TimeDistributed": lambda: L.TimeDistributed(L.Conv1D(3, 2)),
        "Sequential": model,
        "Functional": functional,
    }
    for name, make in held.items():
        yield Case(f"TimeDistributed {name}", lambda m=make: stack((3, 6, 5, 4), L.TimeDistributed(m())))
        yield Case(
            f"TimeDistributed {name} between",
            lambda m=make: stack((3, 6, 5, 4), L.ReLU(), L.TimeDistributed(m()), L.ReLU()),
        )
    yield Case("TimeDistributed Dense on vectors", lambda: stack((5, 6), L.TimeDistributed(L.Dense(3)), L.Flatten()))
    yield Case("TimeDistributed Conv1D", lambda: stack((3, 7, 4), L.TimeDistributed(L.Conv1D(3, 2))))
    yield Case("TimeDistributed LSTM", lambda: stack((3, 7, 4), L.TimeDistributed(L.LSTM(3))))

    def nested() -> Any:
        x = keras.Input((3, 6, 5, 4))
        inner = keras.Model(x, L.TimeDistributed(L.Conv2D(2, 2))(x))
        y = keras.Input((3, 6, 5, 4))
        return keras.Model(y, inner(y))

    yield Case("TimeDistributed in a model", nested)
    for name, make in (("Conv2D", lambda: L.Conv2D(3, 2)), ("Dense", lambda: L.Dense(3))):
        yield Case(f"SpectralNormalization {name}", lambda m=make: stack((6, 5, 4), L.SpectralNormalization(m())))
    yield Case("Bidirectional LSTM", lambda: stack((7, 4), L.Bidirectional(L.LSTM(3))))
    yield Case("Embedding", lambda: stack((7,), L.Embedding(10, 4), dtype="int32"))


def attentions() -> Iterator[Case]:
    def attended(kind: str, options: Mapping[str, Any], count: int, **called: Any) -> Callable[[], Any]:
        def build() -> Any:
            xs = [keras.Input((n, c), name=f"x{i}") for i, (n, c) in enumerate(((5, 6), (7, 6), (7, 6))[:count])]
            layer = getattr(L, kind)(**options)
            made = layer(*xs, **called) if kind == "MultiHeadAttention" else layer(xs, **called)
            return keras.Model(xs, made)

        return build

    for scale, count, causal in product((False, True), (2, 3), (False, True)):
        options: dict[str, Any] = {"use_scale": scale, "dropout": 0.5}
        yield Case(
            f"Attention {options} {count} {causal}", attended("Attention", options, count, use_causal_mask=causal)
        )
    yield Case("Attention concat", attended("Attention", {"score_mode": "concat"}, 2))
    yield Case("Attention scores", attended("Attention", {}, 2, return_attention_scores=True))
    for bias, size, count, causal in product((True, False), (None, 3), (2, 3), (False, True)):
        options = {"num_heads": 2, "key_dim": 4, "value_dim": size, "use_bias": bias, "dropout": 0.1}
        made = attended("MultiHeadAttention", options, count, use_causal_mask=causal)
        yield Case(f"MultiHeadAttention {options} {count} {causal}", made)
    options = {"num_heads": 2, "key_dim": 4, "output_shape": 3}
    yield Case("MultiHeadAttention output_shape", attended("MultiHeadAttention", options, 2))

    def itself() -> Any:
        x = keras.Input((5, 6))
        y = L.LayerNormalization()(x)
        return keras.Model(x, L.Add()([x, L.MultiHeadAttention(2, 3)(query=y, value=y, key=y)]))

    yield Case("MultiHeadAttention of itself", itself)
    for order in ORDERS:
        equation: str
        out: tuple[int | None, ...] | None
        letters: str | None
        for equation, out, letters in (
            ("abc,cd->abd", (None, 5), "d"), ("abc,cd->abd", (None, 5), None), ("abc,cde->abde", (None, 2, 3), "de"),
            ("abc,bc->ab", None, None), ("abc,bd->adc", (3, None), "d"), ("...c,cd->...d", (None, 5), "d"),
        ):  # fmt: skip
            sizes: dict[str, Any] = {
                "equation": equation,
                "output_shape": out,
                "bias_axes": letters,
                "activation": "relu",
            }
            if out is not None:
                yield within("EinsumDense", (7, 4), order, **sizes)
        yield within("EinsumDense", (6, 5, 4), order, equation="abcd,de->abce", output_shape=(None, None, 2))
        yield within("RepeatVector", (6,), "channels_last", n=3)
    for n in (1, 2, 3):
        for order, kind, size in product(ORDERS, ("Average", "Max"), (1, 2, 3)):
            yield one(f"Adaptive{kind}Pooling{n}D", shape(n, order), order, output_size=size)
    for order, (height, width) in product(ORDERS, ((3, 2), (6, 5), (2, 5), (9, 4), (4, 9), (9, 9))):
        yield one("CenterCrop", shape(2, order), order, height=height, width=width)
        yield one("RandomCrop", shape(2, order), order, height=height, width=width)


def structures() -> Iterator[Case]:
    """Models in models, tables of inputs and outputs, shared layers, types, classes of the user's own."""

    def block(name: str, sizes: Sequence[int] = (4, 5, 3)) -> Any:
        x = keras.Input(tuple(sizes), name=f"{name}_x")
        y = L.BatchNormalization(name=f"{name}_bn")(L.Conv2D(3, 1, name=f"{name}_conv")(x))
        return keras.Model(x, y, name=name)

    def nested() -> Any:
        x, inner = keras.Input((4, 5, 3), name="x"), block("inner")
        return keras.Model(x, L.Subtract()([inner(inner(x)), block("other")(x)]))

    def nested_training() -> Any:
        x = keras.Input((4, 5, 3), name="x")
        return keras.Model(x, block("inner")(L.ReLU()(x), training=True))

    def in_order(keys: str, outs: str) -> Callable[[], Any]:
        """A model that has tables of inputs and outputs, each in the given order of keys, in another."""

        def build() -> Any:
            ports = {key: keras.Input((3,), name=f"in_{key}") for key in keys}
            made = {key: L.Rescaling(i + 2.0)(ports[keys[0]]) for i, key in enumerate(outs)}
            last = L.Subtract()([ports[keys[0]], L.Rescaling(7.0)(ports[keys[1]])])
            inner = keras.Model(ports, {**made, outs[0]: last}, name="inner")
            x = keras.Input((3,), name="x")
            y = inner({key: L.Rescaling(float(ord(key)))(x) for key in reversed(keys)})
            return keras.Model(x, [L.Subtract()([y[outs[0]], y[outs[1]]]), y[outs[1]]])

        return build

    def tables() -> Any:
        ports = {key: keras.Input((3,), name=f"in_{key}") for key in ("b", "a")}
        return keras.Model(ports, {"z": L.Subtract()([ports["b"], ports["a"]]), "c": L.Rescaling(2.0)(ports["a"])})

    def named_inputs() -> Any:
        """Inputs in a list, given as a table."""
        ports = [keras.Input((3,), name=name) for name in ("second", "first")]
        inner = keras.Model(ports, L.Subtract()(ports), name="inner")
        x = keras.Input((3,), name="x")
        return keras.Model(x, inner({"first": L.Rescaling(3.0)(x), "second": x}))

    def shared(first: bool) -> Callable[[], Any]:
        """A layer in a nested model and outside."""

        def build() -> Any:
            layer, norm = L.Conv2D(3, 1, name="conv"), L.BatchNormalization(name="bn")
            i = keras.Input((4, 5, 3), name="i")
            inner = keras.Model(i, norm(layer(i)), name="inner")
            x = keras.Input((4, 5, 3), name="x")
            y = [inner(x), norm(layer(L.ReLU()(x)))] if first else [norm(layer(L.ReLU()(x))), inner(x)]
            return keras.Model(x, L.Subtract()(y))

        return build

    def shared_model() -> Any:
        one = block("one")
        i = keras.Input((4, 5, 3), name="i")
        wrapped = keras.Model(i, L.ReLU()(one(i)), name="wrapped")
        x = keras.Input((4, 5, 3), name="x")
        return keras.Model(x, L.Add()([wrapped(x), one(L.ReLU()(x))]))

    def twice() -> Any:
        x, layer = keras.Input((4, 5, 3), name="x"), L.Conv2D(3, 1)
        return keras.Model(x, layer(L.ReLU()(layer(x))))

    def in_sequential() -> Any:
        inner = keras.Sequential([keras.Input((4, 5, 3)), L.Conv2D(3, 1), L.BatchNormalization()], name="inner")
        return keras.Sequential([keras.Input((4, 5, 3), name="x"), L.ReLU(), inner, L.Flatten(), L.Dense(2)])

    def direct(order: Sequence[int]) -> Callable[[], Any]:
        """Calls of a nested model as outputs, in another order than they are made."""

        def build() -> Any:
            x, inner = keras.Input((4, 5, 3), name="x"), block("inner")
            calls = [inner(x), inner(L.ReLU()(x)), inner(L.Rescaling(2.0)(x))]
            return keras.Model(x, [calls[i] for i in order])

        return build

    for order in ((0,), (1,), (0, 1), (1, 0), (2, 0, 1), (2, 1)):
        yield Case(f"model calls {order} as outputs", direct(order))
    yield Case("model nested", nested)
    yield Case("model nested training=True", nested_training)
    for keys, outs in product(("ab", "ba"), ("cz", "zc")):
        yield Case(f"model tables {keys} {outs}", in_order(keys, outs))
    yield Case("model tables outside", tables)
    yield Case("model inputs by name", named_inputs)
    yield Case("model shared, nested first", shared(True))
    yield Case("model shared, nested last", shared(False))
    yield Case("model shared model", shared_model)
    yield Case("model called twice", twice)
    yield Case("model in Sequential", in_sequential)
    kinds: dict[str, Callable[[], Any]] = {
        "Rescaling": lambda: L.Rescaling(0.5, 1.0),
        "Normalization": lambda: L.Normalization(mean=3.0, variance=4.0),
        "Flatten": L.Flatten,
        "MaxPooling2D": L.MaxPooling2D,
        "AveragePooling2D": L.AveragePooling2D,
        "ZeroPadding2D": L.ZeroPadding2D,
        "ReLU": L.ReLU,
        "Dropout": lambda: L.Dropout(0.5),
        "RandomFlip": L.RandomFlip,
        "Reshape": lambda: L.Reshape((5, -1)),
        "UpSampling2D": L.UpSampling2D,
        "Dense": lambda: L.Dense(2),
        "BatchNormalization": L.BatchNormalization,
        "+ 200": lambda: lambda x: x + 200,
        "/ 2": lambda: lambda x: x / 2,
        "Add": lambda: lambda x: L.Add()([x, x]),
        "Resizing": lambda: L.Resizing(3, 3),
    }
    for dtype, (name, make) in product(("uint8", "int32", "float16", "float64", "bool"), kinds.items()):
        yield Case(f"input {dtype} {name}", lambda d=dtype, m=make: stack((4, 6, 3), m(), dtype=d))
    for policy in ("float16", "mixed_float16", "bfloat16", "float64"):
        yield Case(
            f"dtype {policy}",
            lambda p=policy: stack((4, 5, 3), L.Conv2D(2, 2, dtype=p), L.BatchNormalization(dtype=p)),
        )
    yield from own_classes()


def own_classes() -> Iterator[Case]:
    """Layers and functions of the user's own with names of Keras' own: .h5 cannot tell them apart."""

    def named(name: str, base: Any) -> Any:
        kind: Any = type(name, (base,), {"__module__": "mine", "call": lambda self, x: x * 3.0})
        if base is L.Layer:
            kind.compute_output_shape = lambda self, shape: shape
        return kind

    for name in ("ReLU", "Activation", "Softmax", "Dropout", "Flatten", "Rescaling", "Identity", "RandomFlip"):
        base = getattr(L, name)
        options = {"Activation": {"activation": "relu"}, "Dropout": {"rate": 0.5}, "Rescaling": {"scale": 2.0}}
        yield Case(f"own {name} of Layer", lambda n=name: stack((4, 5, 3), L.ReLU(), named(n, L.Layer)()), ("keras",))
        yield Case(
            f"own {name} of {name}",
            lambda n=name, b=base, o=options: stack((4, 5, 3), L.ReLU(), named(n, b)(**o.get(n, {}))),
            ("keras",),
        )
    register = keras.saving.register_keras_serializable if MAJOR > 2 else keras.utils.register_keras_serializable

    def softsign(x: Any) -> Any:
        return x * 3.0

    def registered_relu(x: Any) -> Any:
        return x * 3.0

    registered_relu.__name__ = "relu"
    yield Case("own function relu", lambda: stack((6,), L.Dense(2, activation=register("mine")(registered_relu))))
    yield Case("own layer registered", lambda: stack((6,), register("mine")(named("ReLU", L.Layer))()))
